/**
 * Where a list of mounts lets a layer be written, and how whiteouts must look there.
 *
 * As containerd does, an overlay mount is not mounted: the layer goes straight into its upper directory with
 * whiteouts in overlayfs' form. An overlay without lowerdir is how containerd since 2.2 marks a layer that will be
 * rebased: its lower layers are not known yet, and its whiteouts must stay. A plain bind mount is written through its
 * source. Everything else is mounted.
 */
import { failedPrecondition, invalidArgument } from '../../base/errors.ts';
import type { Mount } from '../../platform/mount.ts';

export type ApplyTarget =
  | { readonly kind: 'directory'; readonly root: string }
  | { readonly kind: 'overlay'; readonly upper: string; readonly lowers: readonly string[] }
  | { readonly kind: 'mounts'; readonly mounts: readonly Mount[] };

const plainBindOptions = new Set(['bind', 'rbind', 'rw']);
const plainOverlayOptions =
  /^(?:rw|upperdir=.*|workdir=.*|lowerdir=.*|index=(?:on|off)|userxattr|xino=.*|metacopy=off|redirect_dir=.*|volatile)$/;

export const optionValue = (mount: Mount, name: string): string | undefined =>
  mount.options.findLast((option) => option.startsWith(`${name}=`))?.slice(name.length + 1);

/** `lowerdir` holds paths apart by colons; one in a path is escaped. */
export const splitLowerDirs = (value: string): string[] =>
  value === '' ? [] : value.split(/(?<!\\):/).map((path) => path.replaceAll(/\\(.)/g, '$1'));

/** Errors: InvalidArgument (no mounts), FailedPrecondition (read-only). */
export function applyTarget(mounts: readonly Mount[]): ApplyTarget {
  const [mount, ...others] = mounts;
  if (mount === undefined) throw invalidArgument('a layer needs mounts to be applied to');
  if (mount.options.includes('ro'))
    throw failedPrecondition('a layer cannot be applied to a read-only mount');
  if (others.length > 0 || mount.target !== '') return { kind: 'mounts', mounts };
  const isBind = mount.options.some((option) => option === 'bind' || option === 'rbind');
  if (isBind && mount.options.every((option) => plainBindOptions.has(option)))
    return { kind: 'directory', root: mount.source };
  const upper = optionValue(mount, 'upperdir');
  const isOverlay =
    mount.type === 'overlay' && mount.options.every((option) => plainOverlayOptions.test(option));
  if (isOverlay && upper !== undefined)
    return { kind: 'overlay', upper, lowers: splitLowerDirs(optionValue(mount, 'lowerdir') ?? '') };
  return { kind: 'mounts', mounts };
}

/**
 * The mounts of a parentless active snapshot, told that it will be rebased onto a parent: whiteouts are kept. As
 * containerd's unpacker writes it, so that either side may have made it.
 */
export function rebaseMounts(mounts: readonly Mount[]): Mount[] {
  const [mount] = mounts;
  if (mounts.length !== 1 || mount === undefined || mount.type !== 'bind') return [...mounts];
  const options = mount.options.filter((option) => option !== 'bind' && option !== 'rbind');
  return [
    { type: 'overlay', source: 'overlay', target: '', options: [...options, `upperdir=${mount.source}`] },
  ];
}
