/**
 * Where the cgroups of a process are in the file system: cgroups(7), /proc/PID/cgroup against mountinfo.
 *
 * A host is of version 2 when no v1 controller is mounted; a hybrid host, with v1 controllers and an empty cgroup2
 * beside them, counts as version 1, because that is where the numbers are.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { failedPrecondition } from '../../base/errors.ts';
import { withNodeErrors } from '../errno.ts';
import { parseMountInfo } from '../linux/mountinfo.ts';
import type { MountInfo } from '../platform.ts';

export type CgroupPaths =
  | { readonly version: 1; readonly controllers: ReadonlyMap<string, string> }
  | { readonly version: 2; readonly path: string };

/** One line of /proc/PID/cgroup; the unified hierarchy has no controllers. */
interface Membership {
  readonly controllers: readonly string[];
  readonly path: string;
}

export function parseMemberships(text: string): Membership[] {
  return text.split('\n').flatMap((line) => {
    const [, controllers, ...path] = line.split(':');
    if (controllers === undefined || path.length === 0) return [];
    // A cgroup's name may hold colons; one that was removed is marked behind the name.
    const name = path.join(':').replace(/ \(deleted\)$/, '');
    return [{ controllers: controllers === '' ? [] : controllers.split(','), path: name }];
  });
}

/** The directory of `path` under a mount that may show only a part of the hierarchy. */
function below(mount: MountInfo, path: string): string {
  const root = mount.root === '/' ? '' : mount.root;
  const inside = path === root || path.startsWith(`${root}/`) ? path.slice(root.length) : path;
  // A path outside of our cgroup namespace starts with "/..", and join cannot climb above the mount by it.
  return join(mount.mountPoint, join('/', inside)).replace(/(?<=.)\/$/, '');
}

/** Pure part of `cgroupOf`: both texts as the kernel writes them. Errors: FailedPrecondition without any cgroup. */
export function locateCgroups(cgroupText: string, mountInfoText: string): CgroupPaths {
  const mounts = parseMountInfo(mountInfoText);
  const memberships = parseMemberships(cgroupText);
  const controllers = new Map<string, string>();
  for (const mount of mounts.filter(({ fileSystemType }) => fileSystemType === 'cgroup'))
    for (const { controllers: names, path } of memberships)
      for (const name of names)
        if (!name.startsWith('name=') && mount.superOptions.includes(name) && !controllers.has(name))
          controllers.set(name, below(mount, path));
  if (controllers.size > 0) return { version: 1, controllers };
  const unified = mounts.find(({ fileSystemType }) => fileSystemType === 'cgroup2');
  const membership = memberships.find(({ controllers: names }) => names.length === 0);
  if (unified === undefined || membership === undefined)
    throw failedPrecondition('no cgroup hierarchy is mounted, so there is nothing to measure');
  return { version: 2, path: below(unified, membership.path) };
}

/** Errors: NotFound when the process is gone. */
export function cgroupOf(pid: number): CgroupPaths {
  const read = (path: string): string => withNodeErrors(() => readFileSync(path, 'utf8'));
  return locateCgroups(read(`/proc/${pid}/cgroup`), read('/proc/self/mountinfo'));
}
