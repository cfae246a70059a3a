/** Puts a process, a shim or the daemon, into a cgroup, in every hierarchy that is mounted (cgroups(7)). */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { wrap } from '../../base/errors.ts';
import type { MountInfo } from '../platform.ts';

/** Errors: the file system's, with the path in front. */
export function joinCgroup(mounts: readonly MountInfo[], path: string, pid: number): void {
  const hierarchies = mounts.filter(({ fileSystemType }) => fileSystemType === 'cgroup');
  const chosen =
    hierarchies.length > 0
      ? hierarchies
      : mounts.filter(({ fileSystemType }) => fileSystemType === 'cgroup2');
  for (const { mountPoint, superOptions } of chosen) {
    // A new cpuset takes no process before it has been given processors.
    if (superOptions.includes('cpuset')) continue;
    const directory = join(mountPoint, join('/', path));
    try {
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      writeFileSync(join(directory, 'cgroup.procs'), String(pid));
    } catch (error) {
      throw wrap(`put process ${pid} into cgroup ${directory}`, error);
    }
  }
}
