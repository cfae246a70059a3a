/**
 * The FIFO ends that a shim keeps for a process that a shim before it started: a read end of each output, so that a
 * client that goes away does not end the writer by SIGPIPE, and the write end of the input until CloseIO. Everything
 * else is the process's own and needs nobody. A FIFO that its client took away needs no end either.
 */
import { hasCode } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { SavedLogProgram, SavedProcess } from '../../oci/shim-state.ts';
import type { FileOperations, Platform } from '../../platform/platform.ts';
import { Descriptors } from './descriptors.ts';
import { finishMs, LogProgram } from './log-program.ts';
import { parseOutput } from './log-uri.ts';
import type { ProcessStdio } from './stdio.ts';

export class AdoptedStdio implements ProcessStdio {
  readonly childFds = [];
  readonly lateOutputs: readonly number[];
  readonly #logProgram: LogProgram | undefined;
  readonly #watch = new AbortController();
  readonly #fds = new Descriptors();
  readonly #late: number[] = [];
  #stdinKeepFd: number | undefined;

  /** Never fails: what cannot be opened is told to `log`. */
  constructor(
    { files, processes, log }: Pick<Platform, 'files' | 'processes'> & { log: Logger },
    process: SavedProcess,
  ) {
    this.lateOutputs = process.lateOutputs;
    this.#logProgram =
      process.logProgram && LogProgram.adopted(processes, process.logProgram, this.#watch.signal);
    const { io } = process;
    const open = (path: string, access: 'read' | 'write'): number | undefined => {
      try {
        return this.#fds.own(files.openFifo(path, access, { nonBlocking: true }));
      } catch (error) {
        // Gone, or read by nobody: its process has closed it.
        log.debug({ error, path }, 'an end of a FIFO is not kept');
        return undefined;
      }
    };
    for (const [index, uri] of [io.stdout, io.stderr].entries()) {
      const path = fifoIn(files, uri);
      if (path === undefined || open(path, 'read') === undefined) continue;
      const late = process.lateOutputs.includes(index + 1) ? open(path, 'write') : undefined;
      if (late !== undefined) this.#late.push(late);
    }
    const input = process.stdinClosed ? undefined : fifoIn(files, io.stdin);
    if (input !== undefined) this.#stdinKeepFd = open(input, 'write');
  }

  get logProgram(): SavedLogProgram | undefined {
    return this.#logProgram?.saved;
  }

  releaseChild(): void {}

  closeStdin(): void {
    this.#fds.close(this.#stdinKeepFd);
  }

  ended(): void {
    this.#fds.closeEach(this.#late);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fds[Symbol.dispose]();
    await this.#logProgram?.stop(finishMs);
    this.#watch.abort();
  }
}

/** Undefined for what is no FIFO: a log file, a log program, nothing. */
function fifoIn(files: FileOperations, uri: string): string | undefined {
  if (uri === '') return undefined;
  const target = parseOutput(uri);
  if (target.kind !== 'fifo') return undefined;
  try {
    return files.lstat(target.path).kind === 'fifo' ? target.path : undefined;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}
