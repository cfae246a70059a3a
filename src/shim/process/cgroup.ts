/** The cgroup of a container: which one it is, and how it is noted for a later shim. */
import type { SavedCgroup } from '../../oci/shim-state.ts';
import { type CgroupPaths, cgroupOf } from '../../platform/cgroups/cgroup-paths.ts';

/** Version 1 controllers that runc always joins, in the order in which they are asked. */
const processControllers = ['pids', 'devices', 'memory', 'freezer'] as const;

/** Directory whose cgroup.procs names the processes. */
export function processDirectory(paths: CgroupPaths): string | undefined {
  if (paths.version === 2) return paths.path;
  return processControllers.map((name) => paths.controllers.get(name)).find((path) => path !== undefined);
}

/** The cgroup of `pid`; undefined when it shares ours, so that nobody takes our own processes for the container's. */
export function ownCgroupOf(pid: number): CgroupPaths | undefined {
  const paths = cgroupOf(pid);
  const ours = cgroupOf(process.pid);
  return processDirectory(paths) === processDirectory(ours) ? undefined : paths;
}

export function savedCgroup(paths: CgroupPaths | undefined): SavedCgroup | undefined {
  return paths?.version === 1 ? { version: 1, controllers: Object.fromEntries(paths.controllers) } : paths;
}

export function cgroupFromSaved(saved: SavedCgroup | undefined): CgroupPaths | undefined {
  return saved?.version === 1
    ? { version: 1, controllers: new Map(Object.entries(saved.controllers)) }
    : saved;
}
