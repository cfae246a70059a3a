/**
 * The children of this process and how they ended.
 *
 * Each child is held by a pidfd that libuv polls, so an exit is noticed in any thread, without SIGCHLD, and cannot be
 * taken for that of a reused pid. waitpid(2) asks for one known pid at a time, never for -1, which would steal the
 * children of libuv. Where a pidfd cannot be had (kernel before 5.3, no descriptors left) SIGCHLD stands in for it.
 *
 * An adopted process has another parent until that one exits. If it dies first, its parent may reap it: then its
 * status is asked of the pidfd, and 255 stands for a status that the kernel did not keep.
 */
import { isMainThread } from 'node:worker_threads';
import { notFound } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { fromErrno, isErrno } from '../errno.ts';
import type { ProcessExit } from '../platform.ts';
import * as libc from './libc.ts';
import { pidfdExitStatus } from './pidfd-info.ts';
import { ReadinessWatch } from './readiness.ts';
import { statusOfWait } from './wait-status.ts';

type Reaped = { kind: 'ended'; status: number } | { kind: 'running' } | { kind: 'not ours' };

function reap(pid: number): Reaped {
  const wait = Buffer.alloc(8);
  const result = libc.waitpid(pid, wait, libc.WNOHANG);
  if (result === pid) return { kind: 'ended', status: statusOfWait(wait.readInt32LE(0)) };
  if (result === 0) return { kind: 'running' };
  const error = fromErrno('waitpid', String(pid), libc.errno());
  if (isErrno(error, 'ECHILD')) return { kind: 'not ours' };
  throw error;
}

const exists = (pid: number): boolean =>
  libc.killProcess(pid, 0) === 0 || isErrno(fromErrno('kill', '', libc.errno()), 'EPERM');

interface Child {
  readonly pid: number;
  readonly exit: PromiseWithResolvers<ProcessExit>;
  readonly pidfd: number | undefined;
  watch: ReadinessWatch | undefined;
  /** Asks again when another parent has the zombie, or where there is no pidfd. */
  timer: NodeJS.Timeout | undefined;
  awaited: boolean;
}

/** Whether nobody has reaped it yet; by the pidfd, because the pid may be another's by now. */
const isThere = ({ pid, pidfd }: Child): boolean =>
  pidfd === undefined
    ? exists(pid)
    : libc.pidfdSendSignal(pidfd, 0) === 0 || isErrno(fromErrno('kill', '', libc.errno()), 'EPERM');

const retryMs = 50;

export class Children {
  readonly #running = new Map<number, Child>();
  readonly #ended = new Map<number, ProcessExit>();
  #listening = false;
  readonly #onSigchld = (): void => {
    for (const child of this.#running.values()) if (child.watch === undefined) this.#check(child);
  };

  /**
   * Starts to hold `pid`. One that ended and is named again keeps its exit, unless there is a process of that number:
   * that is another.
   */
  add(pid: number): void {
    if (this.#running.has(pid) || (this.#ended.has(pid) && !exists(pid))) return;
    this.#ended.delete(pid);
    const pidfd = libc.pidfdOpen(pid);
    const child: Child = {
      pid,
      exit: Promise.withResolvers(),
      pidfd: pidfd < 0 ? undefined : pidfd,
      watch: undefined,
      timer: undefined,
      awaited: false,
    };
    this.#running.set(pid, child);
    if (child.pidfd === undefined) this.#pollBySignal(child);
    else {
      child.watch = new ReadinessWatch(child.pidfd, () => this.#onReadable(child));
      child.watch.unref();
    }
  }

  async exited(pid: number): Promise<ProcessExit> {
    const ended = this.#ended.get(pid);
    if (ended !== undefined) return ended;
    if (!this.#running.has(pid)) {
      if (!exists(pid)) throw notFound('process', String(pid));
      this.add(pid);
    }
    // It may have ended while it was being registered.
    const child = this.#running.get(pid);
    if (child === undefined) return this.exited(pid);
    child.awaited = true;
    child.watch?.ref();
    child.timer?.ref();
    return child.exit.promise;
  }

  #onReadable(child: Child): void {
    if (this.#check(child)) return;
    // A zombie that is not ours: a readable pidfd stays readable, so watching it further would spin.
    child.watch?.[Symbol.dispose]();
    child.watch = undefined;
    this.#pollBySignal(child);
  }

  /** SIGCHLD reaches the main thread only; the timer covers workers and zombies of other parents. */
  #pollBySignal(child: Child): void {
    if (!this.#listening && isMainThread) {
      process.on('SIGCHLD', this.#onSigchld);
      this.#listening = true;
    }
    child.timer = setInterval(() => this.#check(child), retryMs);
    if (!child.awaited) child.timer.unref();
    this.#check(child);
  }

  /** True when the child has ended and is done with. */
  #check(child: Child): boolean {
    const reaped = reap(child.pid);
    if (reaped.kind === 'ended') return this.#finish(child, reaped.status);
    if (reaped.kind === 'not ours' && !isThere(child))
      return this.#finish(
        child,
        (child.pidfd === undefined ? undefined : pidfdExitStatus(child.pidfd)) ?? 255,
      );
    return false;
  }

  #finish(child: Child, status: number): true {
    const exit: ProcessExit = { pid: child.pid, status, exitedAt: now() };
    child.watch?.[Symbol.dispose]();
    clearInterval(child.timer);
    if (child.pidfd !== undefined) libc.closeDescriptor(child.pidfd);
    this.#running.delete(child.pid);
    this.#remember(exit);
    if (this.#running.size === 0 && this.#listening) {
      process.off('SIGCHLD', this.#onSigchld);
      this.#listening = false;
    }
    child.exit.resolve(exit);
    return true;
  }

  #remember(exit: ProcessExit): void {
    this.#ended.set(exit.pid, exit);
    if (this.#ended.size <= limits.rememberedExits) return;
    for (const pid of this.#ended.keys()) {
      this.#ended.delete(pid);
      break;
    }
  }
}
