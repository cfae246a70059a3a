/**
 * Ends everything in a cgroup, whether it is frozen or not: `cgroup.kill` where the kernel has it (cgroup v2, Linux
 * 5.14), else freeze, SIGKILL to each, thaw, so that nothing can fork its way out and what was frozen can die.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, notFound } from '../../base/errors.ts';
import type { ProcessOperations } from '../platform.ts';
import { type CgroupPaths, cgroupOf } from './cgroup-paths.ts';

const SIGKILL = 9;

/** Version 1 controllers whose directory may name the container's processes, the one that can freeze first. */
const v1Controllers = ['freezer', 'pids', 'devices', 'memory'] as const;

/**
 * Kills the cgroup of `pid`. Returns how many processes were in it. Errors: NotFound when the process is gone, or
 * shares its cgroup with us, so that there is none to kill.
 */
export function killCgroupOf(processes: Pick<ProcessOperations, 'kill'>, pid: number): number {
  const directory = ownDirectory(cgroupOf(pid), cgroupOf(process.pid));
  if (directory === undefined) throw notFound('cgroup of its own of process', String(pid));
  return killCgroup(processes, directory);
}

/** The directory to kill by; undefined when killing there would reach us: it is ours, or ours is below it. */
export function ownDirectory(theirs: CgroupPaths, ours: CgroupPaths): string | undefined {
  const reachesUs = (path: string, own: string | undefined): boolean =>
    own !== undefined && (own === path || own.startsWith(`${path.replace(/\/$/, '')}/`));
  if (theirs.version === 2)
    return ours.version === 2 && !reachesUs(theirs.path, ours.path) ? theirs.path : undefined;
  if (ours.version !== 1) return undefined;
  return v1Controllers
    .map((name) => ({ path: theirs.controllers.get(name), own: ours.controllers.get(name) }))
    .find(({ path, own }) => path !== undefined && own !== undefined && !reachesUs(path, own))?.path;
}

function killCgroup(processes: Pick<ProcessOperations, 'kill'>, directory: string): number {
  const cgroups = withChildren(directory);
  const pids = cgroups.flatMap(processesIn);
  if (tryWrite(join(directory, 'cgroup.kill'), '1')) return pids.length;
  for (const cgroup of cgroups) freeze(cgroup, true);
  try {
    for (const pid of cgroups.flatMap(processesIn)) kill(processes, pid);
  } finally {
    for (const cgroup of cgroups) freeze(cgroup, false);
  }
  return pids.length;
}

function freeze(cgroup: string, frozen: boolean): void {
  if (!tryWrite(join(cgroup, 'freezer.state'), frozen ? 'FROZEN' : 'THAWED'))
    tryWrite(join(cgroup, 'cgroup.freeze'), frozen ? '1' : '0');
}

function kill(processes: Pick<ProcessOperations, 'kill'>, pid: number): void {
  try {
    processes.kill(pid, SIGKILL);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw error;
  }
}

/** False where there is no such file: opened without making one. */
function tryWrite(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'r+' });
    return true;
  } catch {
    return false;
  }
}

function withChildren(directory: string): string[] {
  try {
    const children = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [directory, ...children.flatMap(({ name }) => withChildren(join(directory, name)))];
  } catch {
    return [];
  }
}

function processesIn(directory: string): number[] {
  try {
    return readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
