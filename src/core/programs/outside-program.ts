/**
 * A program of the operator's that the daemon runs beside itself, with pipes on its streams: image verifiers and stream
 * processors. It leads a process group of its own, all of which is killed when it is given up. No shell stands between,
 * and of our descriptors it has those of its streams only.
 */
import { closeSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { ContainerdError, internal, unknown } from '../../base/errors.ts';
import { errnoName } from '../../platform/errno.ts';
import { makePipe } from '../../platform/pipe.ts';
import type { FileOperations, ProcessOperations, StdioTarget } from '../../platform/platform.ts';
import { resolveProgram } from '../../platform/program-path.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { pipeReader, pipeWriter } from '../../wire/pipe.ts';

export interface OutsideProgramDependencies {
  readonly files: FileOperations;
  readonly processes: Pick<ProcessOperations, 'spawn' | 'exited' | 'kill'>;
}

export interface OutsideProgramRequest {
  /** A path, or a name looked up on the PATH of the daemon. */
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Its standard input, which stays the caller's; a pipe of its own when absent. */
  readonly stdin?: number;
  /** What it reads on descriptor 3, which it has only then. */
  readonly payload?: Uint8Array;
}

/** Descriptors that are closed unless they are taken. */
class Held implements Disposable {
  readonly #fds = new Set<number>();

  pipe(files: FileOperations): { readFd: number; writeFd: number } {
    const ends = makePipe(files);
    this.#fds.add(ends.readFd).add(ends.writeFd);
    return ends;
  }

  take(fd: number): number {
    this.#fds.delete(fd);
    return fd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) closeSync(fd);
    this.#fds.clear();
  }
}

export class OutsideProgram implements AsyncDisposable {
  /** Undefined when the caller gave one. Errors of writing are the caller's to hear. */
  readonly stdin: Writable | undefined;
  readonly stderr: Readable;
  /** The exit status, 128 + signal when one killed it. Never rejects before the system does. */
  readonly ended: Promise<number>;
  readonly #processes: OutsideProgramDependencies['processes'];
  readonly #pid: number;
  #stdoutFd: number | undefined;
  #stdout: Readable | undefined;
  #hasEnded = false;

  private constructor(
    processes: OutsideProgramDependencies['processes'],
    pid: number,
    ends: { stdin: Writable | undefined; stdoutFd: number; stderr: Readable },
  ) {
    this.#processes = processes;
    this.#pid = pid;
    this.stdin = ends.stdin;
    this.#stdoutFd = ends.stdoutFd;
    this.stderr = ends.stderr;
    this.ended = processes.exited(pid).then(({ status }) => {
      this.#hasEnded = true;
      return status;
    });
    this.ended.catch(() => {});
  }

  /** Errors: Unknown, in the words of Go's os/exec, which containerd's users know. */
  static start(
    { files, processes }: OutsideProgramDependencies,
    request: OutsideProgramRequest,
  ): OutsideProgram {
    const { file, args, env, payload } = request;
    using held = new Held();
    const input = request.stdin === undefined ? held.pipe(files) : undefined;
    const [output, errors] = [held.pipe(files), held.pipe(files)];
    const extra = payload === undefined ? undefined : held.pipe(files);
    const stdin = input?.readFd ?? request.stdin ?? 'null';
    const stdio: StdioTarget[] = [
      stdin,
      output.writeFd,
      errors.writeFd,
      ...(extra === undefined ? [] : [extra.readFd]),
    ];
    const pid = spawned(processes, { file: pathOf(file), args, env, stdio, newProcessGroup: true });
    if (extra !== undefined) {
      const writer = pipeWriter(held.take(extra.writeFd));
      // It need not read it.
      writer.on('error', () => {});
      writer.end(payload);
    }
    return new OutsideProgram(processes, pid, {
      stdin: input && pipeWriter(held.take(input.writeFd)),
      stdoutFd: held.take(output.readFd),
      stderr: pipeReader(held.take(errors.readFd)),
    });
  }

  /** Its output; not together with `takeStdout`. */
  get stdout(): Readable {
    this.#stdout ??= pipeReader(this.takeStdout());
    return this.#stdout;
  }

  /** The descriptor of its output, from now on the caller's: for the input of another program. */
  takeStdout(): number {
    const fd = this.#stdoutFd;
    if (fd === undefined) throw internal('the output of a program is taken once');
    this.#stdoutFd = undefined;
    return fd;
  }

  /** It and what it has started in its group. Never throws: one that is gone, or may not be killed, ends by itself. */
  kill(): void {
    if (this.#hasEnded) return;
    try {
      this.#processes.kill(-this.#pid, SIGKILL);
    } catch {}
  }

  /** Kills what still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.ended;
    this.stdin?.destroy();
    this.stderr.destroy();
    this.#stdout?.destroy();
    if (this.#stdoutFd !== undefined) closeSync(this.takeStdout());
  }
}

function pathOf(file: string): string {
  try {
    return resolveProgram(file, process.env);
  } catch (error) {
    throw unknown(`exec: ${JSON.stringify(file)}: executable file not found in $PATH`, error);
  }
}

function spawned(
  processes: OutsideProgramDependencies['processes'],
  request: Parameters<ProcessOperations['spawn']>[0],
): number {
  try {
    return processes.spawn(request);
  } catch (error) {
    const words = startFailures[errnoName(error) ?? ''] ?? ContainerdError.from(error).message;
    throw unknown(`fork/exec ${request.file}: ${words}`, error);
  }
}

const startFailures: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  ENOEXEC: 'exec format error',
};
