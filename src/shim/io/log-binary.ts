/**
 * A logger program of a `binary://` URI: it reads the container's stdout on descriptor 3 and stderr on 4, and closes
 * descriptor 5 (or, for `binary-v2`, writes a byte to it) when it is ready.
 */
import type { Readable } from 'node:stream';
import { hasCode, unavailable, unknown, wrap } from '../../base/errors.ts';
import type { SavedLogProgram } from '../../oci/shim-state.ts';
import { makePipe } from '../../platform/pipe.ts';
import type { Platform, SpawnRequest } from '../../platform/platform.ts';
import { pipeReader } from '../../wire/pipe.ts';
import { Descriptors } from './descriptors.ts';
import { finishMs, LogProgram } from './log-program.ts';
import type { OutputTarget } from './log-uri.ts';

const readyMs = 10_000;

export interface Owner {
  readonly namespace: string;
  readonly id: string;
}

export class LogBinary implements AsyncDisposable {
  readonly stdoutFd: number;
  readonly stderrFd: number;
  readonly #fds: Descriptors;
  readonly #program: LogProgram;

  private constructor(program: LogProgram, fds: Descriptors, ends: { stdoutFd: number; stderrFd: number }) {
    this.#program = program;
    this.#fds = fds;
    this.stdoutFd = ends.stdoutFd;
    this.stderrFd = ends.stderrFd;
  }

  get saved(): SavedLogProgram {
    return this.#program.saved;
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
      const logger = new LogBinary(LogProgram.started(processes, pid), fds, {
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
    await this.#program.stop(0);
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
    await this.#program.stop(finishMs);
    this.#fds[Symbol.dispose]();
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
