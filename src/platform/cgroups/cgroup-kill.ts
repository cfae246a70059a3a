/**
 * Ends everything in a cgroup, whether it is frozen or not: `cgroup.kill` where the kernel has it (cgroup v2, Linux
 * 5.14), else freeze, SIGKILL to each, thaw, so that nothing can fork its way out and what was frozen can die.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, notFound } from '../../base/errors.ts';
import type { ProcessOperations } from '../platform.ts';
import { SIGKILL } from '../signals.ts';
import { type CgroupPaths, cgroupOf } from './cgroup-paths.ts';
import { cgroupProcesses, cgroupTree, isFrozenIn } from './cgroup-processes.ts';

/** How often it is asked, a millisecond apart, whether all stand still. */
const frozenAttempts = 20;
const killRounds = 10;

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
  const count = cgroupProcesses(directory).length;
  if (tryWrite(join(directory, 'cgroup.kill'), '1')) return count;
  const cgroups = cgroupTree(directory);
  for (const cgroup of cgroups) freeze(cgroup, true);
  awaitFrozen(directory);
  try {
    return killEach(processes, directory);
  } finally {
    for (const cgroup of cgroups) freeze(cgroup, false);
  }
}

/** What still runs could fork away; a process that waits for a disk cannot, and is not waited for. */
function awaitFrozen(directory: string): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let attempt = 0; attempt < frozenAttempts && !isFrozenIn(directory); attempt += 1)
    Atomics.wait(pause, 0, 0, 1);
}

/** Again while there are new ones: where there is no freezer, some may have been forked meanwhile. */
function killEach(processes: Pick<ProcessOperations, 'kill'>, directory: string): number {
  const killed = new Set<number>();
  for (let round = 0; round < killRounds; round += 1) {
    const fresh = cgroupProcesses(directory).filter((pid) => !killed.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) {
      kill(processes, pid);
      killed.add(pid);
    }
  }
  return killed.size;
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
