/** The file systems that every container has, in containerd's order, and the rule by which others replace them. */
import { posix } from 'node:path';
import type { SpecMount } from '../../oci/runtime-spec.ts';

const mount = (destination: string, type: string, source: string, options: string): SpecMount => ({
  destination,
  type,
  source,
  options: options.split(' '),
});

const base: readonly SpecMount[] = [
  mount('/proc', 'proc', 'proc', 'nosuid noexec nodev'),
  mount('/dev', 'tmpfs', 'tmpfs', 'nosuid strictatime mode=755 size=65536k'),
  mount('/dev/pts', 'devpts', 'devpts', 'nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5'),
  mount('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid noexec nodev'),
];

export interface StandardMountOptions {
  readonly privileged: boolean;
  readonly cgroup: 'absent' | 'readonly' | 'writable';
  /** In a user namespace of its own but in the host's network, where the kernel lets nobody mount sysfs. */
  readonly boundSysfs: boolean;
}

export function standardMounts({ privileged, cgroup, boundSysfs }: StandardMountOptions): SpecMount[] {
  const access = privileged ? 'rw' : 'ro';
  const sysfs = boundSysfs
    ? mount('/sys', 'bind', '/sys', 'rbind rro nosuid noexec nodev')
    : mount('/sys', 'sysfs', 'sysfs', `nosuid noexec nodev ${access}`);
  if (cgroup === 'absent') return [...base, sysfs];
  const cgroupAccess = privileged || cgroup === 'writable' ? 'rw' : 'ro';
  const options = `nosuid noexec nodev relatime ${cgroupAccess}`;
  return [...base, sysfs, mount('/sys/fs/cgroup', 'cgroup', 'cgroup', options)];
}

export const cleanPath = (path: string): string => posix.normalize(path).replace(/(?<=.)\/$/, '');

/** Those that nothing of `own` takes the place of; an own `/dev` takes that of all below, too. */
export function without(standard: readonly SpecMount[], own: readonly SpecMount[]): SpecMount[] {
  const taken = new Set(own.map(({ destination }) => cleanPath(destination)));
  return standard.filter(
    ({ destination }) => !taken.has(destination) && !(taken.has('/dev') && destination.startsWith('/dev/')),
  );
}

/** Fewer parts of the path first, so that none hides another; otherwise as given. */
export const byDepth = (mounts: readonly SpecMount[]): SpecMount[] =>
  mounts.toSorted((one, other) => depth(one) - depth(other));
const depth = ({ destination }: SpecMount): number =>
  cleanPath(destination).split('/').filter(Boolean).length;
