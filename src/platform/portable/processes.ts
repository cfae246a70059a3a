/** Processes by node:child_process. Only children made here are known; nothing can be adopted. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { ContainerdError, notFound, unimplemented } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { errnoName, fromNodeError, withNodeErrors } from '../errno.ts';
import type { ProcessExit, ProcessOperations, SpawnRequest } from '../platform.ts';

const foreignPollMs = 250;

function exitOf(child: ChildProcess, pid: number): Promise<ProcessExit> {
  const { promise, resolve } = Promise.withResolvers<ProcessExit>();
  child.once('exit', (code, signal) => {
    const status = signal === null ? (code ?? 255) : 128 + constants.signals[signal];
    resolve({ pid, status, exitedAt: now() });
  });
  return promise;
}

export class PortableProcesses implements ProcessOperations {
  readonly #exits = new Map<number, { child: ChildProcess; exit: Promise<ProcessExit> }>();

  spawn(request: SpawnRequest): number {
    const child = spawn(request.file, request.args, {
      ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
      env: { ...request.env },
      stdio: request.stdio.map((target) => (target === 'null' ? 'ignore' : target)),
      detached: request.newProcessGroup === true || request.newSession === true,
    });
    // Node reports some failures now and some by an event; the event must have a listener in either case.
    child.on('error', () => {});
    const { pid } = child;
    if (pid === undefined) throw notFound('program', request.file);
    child.unref();
    this.#exits.delete(pid);
    this.#exits.set(pid, { child, exit: exitOf(child, pid) });
    this.#forgetOldest();
    return pid;
  }

  /** Bounded by what has ended: a running child is never forgotten. */
  #forgetOldest(): void {
    if (this.#exits.size <= limits.rememberedExits) return;
    for (const [pid, { child }] of this.#exits)
      if (child.exitCode !== null || child.signalCode !== null) {
        this.#exits.delete(pid);
        return;
      }
  }

  async exited(pid: number): Promise<ProcessExit> {
    const known = this.#exits.get(pid);
    if (known === undefined) throw notFound('child process', String(pid));
    known.child.ref();
    return known.exit;
  }

  adopt(pid: number): void {
    throw unimplemented(`processes.adopt ${pid} is not available on this platform`);
  }

  async foreignExited(pid: number, options: { signal: AbortSignal }): Promise<undefined> {
    try {
      while (this.isAlive(pid)) await delay(foreignPollMs, undefined, { signal: options.signal });
    } catch (error) {
      throw ContainerdError.from(error);
    }
  }

  pin(): boolean {
    return false;
  }

  kill(pid: number, signal: number): void {
    withNodeErrors(() => process.kill(pid, signal));
  }

  isAlive(pid: number): boolean {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      if (errnoName(error) === 'ESRCH') return false;
      if (errnoName(error) === 'EPERM') return true;
      throw fromNodeError(error);
    }
  }

  becomeSubreaper(): void {
    throw unimplemented('processes.becomeSubreaper is not available on this platform');
  }

  setOomScoreAdjust(pid: number): number {
    throw unimplemented(`processes.setOomScoreAdjust ${pid} is not available on this platform`);
  }

  /** Not known here, so callers cannot tell a pid from its reuse. */
  startTicks(): undefined {
    return undefined;
  }

  list(): number[] {
    return [];
  }

  children(): number[] {
    return [];
  }

  arguments(): string[] {
    return [];
  }

  environment(): string[] {
    return [];
  }

  workingDirectory(): undefined {
    return undefined;
  }

  isGroupLeader(): boolean {
    return false;
  }
}
