/**
 * The cgroup of a container, as far as the shim itself asks: which processes are in it, and whether it is frozen. Read
 * from the files directly (cgroups(7)), without a runc process.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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

/** Processes in the cgroup and those below it, each once. Empty when it is gone. */
export function processesIn(directory: string): number[] {
  const pids = new Set<number>();
  const visit = (path: string): void => {
    for (const line of readOrEmpty(join(path, 'cgroup.procs')).split('\n'))
      if (line !== '') pids.add(Number(line));
    for (const entry of directoriesIn(path)) visit(join(path, entry));
  };
  visit(directory);
  return [...pids];
}

/** Paused, or about to be. */
export function isFrozen(paths: CgroupPaths): boolean {
  if (paths.version === 2) return readOrEmpty(join(paths.path, 'cgroup.freeze')).trim() === '1';
  const freezer = paths.controllers.get('freezer');
  return freezer !== undefined && readOrEmpty(join(freezer, 'freezer.state')).startsWith('FR');
}

export function savedCgroup(paths: CgroupPaths | undefined): SavedCgroup | undefined {
  return paths?.version === 1 ? { version: 1, controllers: Object.fromEntries(paths.controllers) } : paths;
}

export function cgroupFromSaved(saved: SavedCgroup | undefined): CgroupPaths | undefined {
  return saved?.version === 1
    ? { version: 1, controllers: new Map(Object.entries(saved.controllers)) }
    : saved;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function directoriesIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    );
  } catch {
    return [];
  }
}
