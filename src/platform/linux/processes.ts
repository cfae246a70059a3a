/** Processes on Linux: spawned by posix_spawn, held by pidfds, asked about in /proc. */
import { readFileSync, writeFileSync } from 'node:fs';
import { ContainerdError } from '../../base/errors.ts';
import { errnoName, fromNodeError, withNodeErrors } from '../errno.ts';
import type { ProcessExit, ProcessOperations, SpawnRequest } from '../platform.ts';
import { Children } from './children.ts';
import * as libc from './libc.ts';
import { foreignExit } from './pidfd.ts';
import { pinPidfd } from './pidfd-pin.ts';
import * as proc from './proc.ts';
import { posixSpawn } from './spawn.ts';

export class LinuxProcesses implements ProcessOperations {
  readonly #children = new Children();

  spawn(request: SpawnRequest): number {
    const pid = posixSpawn(request);
    this.#children.add(pid);
    return pid;
  }

  exited(pid: number): Promise<ProcessExit> {
    return this.#children.exited(pid);
  }

  adopt(pid: number): void {
    this.#children.add(pid);
  }

  async foreignExited(
    pid: number,
    options: { signal: AbortSignal; pin?: string },
  ): Promise<ProcessExit | undefined> {
    try {
      return await foreignExit(pid, options);
    } catch (error) {
      throw ContainerdError.from(error);
    }
  }

  pin(pid: number, path: string): boolean {
    return pinPidfd(pid, path);
  }

  kill(pid: number, signal: number): void {
    libc.check('kill', String(pid), libc.killProcess(pid, signal));
  }

  isAlive(pid: number): boolean {
    const state = proc.statFields(pid)?.[proc.statField(3)];
    return state !== undefined && state !== 'Z' && state !== 'X';
  }

  becomeSubreaper(): void {
    libc.check('prctl', 'PR_SET_CHILD_SUBREAPER', libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
  }

  setOomScoreAdjust(pid: number, score: number): number {
    const path = `/proc/${pid}/oom_score_adj`;
    const wanted = Math.max(-1000, Math.min(1000, Math.trunc(score)));
    try {
      writeFileSync(path, String(wanted));
      return wanted;
    } catch (error) {
      if (errnoName(error) !== 'EACCES') throw fromNodeError(error);
    }
    // Without CAP_SYS_RESOURCE the score cannot go below the least it ever had, which is at most what it is now.
    return withNodeErrors(() => Number(readFileSync(path, 'latin1')));
  }

  startTicks(pid: number): bigint | undefined {
    const field = proc.statFields(pid)?.[proc.statField(22)];
    return field === undefined ? undefined : BigInt(field);
  }

  list(): number[] {
    return proc.allProcesses();
  }

  children(pid: number): number[] {
    return proc.childrenOf(pid);
  }

  arguments(pid: number): string[] {
    return proc.argumentsOf(pid);
  }

  environment(pid: number): string[] {
    return proc.environmentOf(pid);
  }

  workingDirectory(pid: number): string | undefined {
    return proc.workingDirectoryOf(pid);
  }

  isGroupLeader(pid: number): boolean {
    return proc.statFields(pid)?.[proc.statField(5)] === String(pid);
  }
}
