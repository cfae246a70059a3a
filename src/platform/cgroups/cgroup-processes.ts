/** What a cgroup holds and whether it is held still: cgroup.procs and the freezer, of both versions (cgroups(7)). */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CgroupFolder, parseFlatKeyed } from './cgroup-files.ts';
import type { CgroupPaths } from './cgroup-paths.ts';

/** The directory and those below it, from the top down; empty when it is gone. */
export function cgroupTree(directory: string): string[] {
  try {
    const children = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [directory, ...children.flatMap(({ name }) => cgroupTree(join(directory, name)))];
  } catch {
    return [];
  }
}

/** Processes in the cgroup and those below it, each once; empty when it is gone. */
export function cgroupProcesses(directory: string): number[] {
  const pids = cgroupTree(directory).flatMap((path) => {
    const text = new CgroupFolder(path).read('cgroup.procs') ?? '';
    return text.split('\n').filter((line) => line !== '');
  });
  return [...new Set(pids)].map(Number);
}

/** Whether everything in the cgroup stands still; false while it is still on the way there, or without a freezer. */
export function isFrozen(cgroup: CgroupPaths): boolean {
  const directory = cgroup.version === 2 ? cgroup.path : cgroup.controllers.get('freezer');
  return directory !== undefined && isFrozenIn(directory);
}

/** As `isFrozen`, for the directory that has the freezer. */
export function isFrozenIn(directory: string): boolean {
  const folder = new CgroupFolder(directory);
  return (
    folder.read('freezer.state')?.trim() === 'FROZEN' ||
    parseFlatKeyed(folder.read('cgroup.events')).get('frozen') === 1n
  );
}
