/**
 * A logger program of a `binary://` URI: it reads the container's stdout on descriptor 3 and stderr on 4, and closes
 * descriptor 5 (or, for `binary-v2`, writes a byte to it) when it is ready.
 *
 * It ends by itself when all writers are gone. One that is still there when the process is deleted gets a moment for
 * the rest of its input, then SIGTERM, then SIGKILL after 12 s; containerd leaves out the moment, which cuts logs.
 */
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { setTimeout as after } from 'node:timers/promises';
import { hasCode, unavailable, unknown, wrap } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { makePipe } from '../../platform/pipe.ts';
import type { Platform, SpawnRequest } from '../../platform/platform.ts';
import { pipeReader } from '../../wire/pipe.ts';
import { Descriptors } from './descriptors.ts';
import type { OutputTarget } from './log-uri.ts';

const readyMs = 10_000;
/** For a logger that is reading the last lines. */
const finishMs = 250;

export interface Owner {
  readonly namespace: string;
  readonly id: string;
}

export class LogBinary implements AsyncDisposable {
  readonly stdoutFd: number;
  readonly stderrFd: number;
  readonly #fds: Descriptors;
  readonly #pid: number;
  readonly #processes: Platform['processes'];
  readonly #ended: Promise<unknown>;
  #isOver = false;

  private constructor(
    processes: Platform['processes'],
    pid: number,
    fds: Descriptors,
    ends: { stdoutFd: number; stderrFd: number },
  ) {
    this.#processes = processes;
    this.#pid = pid;
    this.#fds = fds;
    this.stdoutFd = ends.stdoutFd;
    this.stderrFd = ends.stderrFd;
    this.#ended = processes.exited(pid).finally(() => {
      this.#isOver = true;
    });
  }

  /**
   * Resolves when the logger is ready. The write ends are for the container; `releaseWriters` closes them here.
   * Errors: Unknown (no such program), Unavailable when it does not get ready in 10 s.
   */
  static async start(
    { files, processes }: Pick<Platform, 'files' | 'processes'>,
    target: Extract<OutputTarget, { kind: 'binary' }>,
    owner: Owner,
  ): Promise<LogBinary> {
    const fds = new Descriptors();
    try {
      const pipes = [makePipe(files), makePipe(files), makePipe(files)] as const;
      for (const { readFd, writeFd } of pipes) {
        fds.own(readFd);
        fds.own(writeFd);
      }
      const [stdout, stderr, ready] = pipes;
      const pid = spawn(processes, {
        file: target.path,
        args: target.args,
        env: { CONTAINER_ID: owner.id, CONTAINER_NAMESPACE: owner.namespace },
        stdio: ['null', 'null', 'null', stdout.readFd, stderr.readFd, ready.writeFd],
        newProcessGroup: true,
      });
      fds.close(ready.writeFd);
      const logger = new LogBinary(processes, pid, fds, {
        stdoutFd: stdout.writeFd,
        stderrFd: stderr.writeFd,
      });
      await logger.#ready(fds.release(ready.readFd), target);
      return logger;
    } catch (error) {
      fds[Symbol.dispose]();
      throw error;
    }
  }

  async #ready(readyFd: number, target: { path: string; mustWriteReady: boolean }): Promise<void> {
    using pipe = new ReadyPipe(readyFd);
    const wrote = await pipe.answer(readyMs);
    if (wrote === 'byte' || (wrote === 'end' && !target.mustWriteReady)) return;
    await this.#stop(0);
    throw unavailable(
      wrote === 'end'
        ? `log program ${target.path} ended its readiness descriptor without a byte on it`
        : `log program ${target.path} was not ready within ${readyMs / 1000} s; it must close descriptor 5`,
    );
  }

  /** The write end of stdout, from now on the caller's. */
  takeStdout(): number {
    return this.#fds.release(this.stdoutFd);
  }

  releaseWriters(): void {
    this.#fds.close(this.stdoutFd);
    this.#fds.close(this.stderrFd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.releaseWriters();
    await this.#stop(finishMs);
    this.#fds[Symbol.dispose]();
  }

  async #stop(patienceMs: number): Promise<void> {
    if (await this.#overWithin(patienceMs)) return;
    this.#signal(constants.signals.SIGTERM);
    if (await this.#overWithin(limits.logBinaryTermMs)) return;
    this.#signal(constants.signals.SIGKILL);
    await this.#ended;
  }

  async #overWithin(timeoutMs: number): Promise<boolean> {
    const timer = new AbortController();
    await Promise.race([this.#ended, after(timeoutMs, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
    return this.#isOver;
  }

  #signal(signal: number): void {
    // Reaped only by our own `exited`, so the pid is still its own while it is not over.
    if (!this.#isOver) this.#processes.kill(this.#pid, signal);
  }
}

function spawn(processes: Platform['processes'], request: SpawnRequest): number {
  try {
    return processes.spawn(request);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw wrap('failed to start binary process', error);
    const reason = 'no such file or directory';
    throw unknown(`failed to start binary process: fork/exec ${request.file}: ${reason}`, error);
  }
}

class ReadyPipe implements Disposable {
  readonly #socket: Readable;

  constructor(fd: number) {
    this.#socket = pipeReader(fd);
  }

  answer(timeoutMs: number): Promise<'byte' | 'end' | 'timeout'> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve('timeout'), timeoutMs);
      const settle = (answer: 'byte' | 'end'): void => {
        clearTimeout(timer);
        resolve(answer);
      };
      this.#socket.once('data', () => settle('byte'));
      this.#socket.once('end', () => settle('end'));
      this.#socket.once('error', () => settle('end'));
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
