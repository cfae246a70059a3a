/**
 * What a process gets as its descriptors 0, 1 and 2, made from the paths and URIs of a create or exec.
 *
 * Everything is handed over directly: FIFOs, files and pipes of log programs. So output does not pass through the shim,
 * and goes on when the shim is killed. Terminals (terminal.ts) and `cri:` URIs (relayed-stdio.ts) are the exceptions.
 *
 * As in containerd a `file://` or `binary://` stdout takes stderr along.
 */
import { constants, fchownSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import type { SavedLogProgram } from '../../oci/shim-state.ts';
import type { Platform, StdioTarget } from '../../platform/platform.ts';
import { Descriptors } from './descriptors.ts';
import { openInput, openOutput } from './fifo.ts';
import { LogBinary, type Owner } from './log-binary.ts';
import { type CriTarget, type OutputTarget, parseOutput } from './log-uri.ts';

/** Paths and URIs as the task API has them. */
export interface IoPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** Owner of the pipes inside a user namespace (Options.io_uid and io_gid); 0 leaves them as they are. */
export interface IoOwner {
  readonly uid: number;
  readonly gid: number;
}

export interface ProcessStdio extends AsyncDisposable {
  readonly childFds: readonly StdioTarget[];
  /** Outputs (1, 2) whose write end is kept until the process has ended, for a reader that comes late. */
  readonly lateOutputs: readonly number[];
  /** What the outputs go to, as a later shim knows it again. */
  readonly logProgram: SavedLogProgram | undefined;
  /** To be called when the process has its descriptors: ours would keep readers from seeing the end. */
  releaseChild(): void;
  /** CloseIO: from now on the process sees the end of its input when the last client has closed it. */
  closeStdin(): void;
  /** To be called when the process has ended. */
  ended(): void;
  /** What goes through us has been passed on, or the time is up; absent where nothing does. */
  drained?(timeoutMs: number): Promise<void>;
  /** Opens the log anew; absent where we have none. */
  reopen?(): void;
}

type IoPlatform = Pick<Platform, 'files' | 'processes'>;
type DirectTarget = Exclude<OutputTarget, CriTarget>;

interface OutputPlan {
  readonly stdout: DirectTarget;
  readonly stderr: DirectTarget | 'as stdout';
}

function planOutput({ stdout, stderr }: IoPaths): OutputPlan {
  const target = directOutput(stdout);
  if (target.kind === 'file' || target.kind === 'binary') return { stdout: target, stderr: 'as stdout' };
  return { stdout: target, stderr: directOutput(stderr) };
}

/** Errors: InvalidArgument for `cri:`, which takes all of a process's streams or none. */
function directOutput(uri: string): DirectTarget {
  const target = parseOutput(uri);
  if (target.kind === 'cri')
    throw invalidArgument(`${uri} can only be the stderr of a process whose stdout is a cri: URI too`);
  return target;
}

/** Errors: NotFound (no such FIFO), Unknown (no such program), InvalidArgument, Unimplemented (URI scheme), Unavailable (log program). */
export async function openStdio(
  platform: IoPlatform,
  io: IoPaths,
  owner: Owner,
  ioOwner: IoOwner,
): Promise<ProcessStdio> {
  const plan = planOutput(io);
  const stdio = new DirectStdio(platform, owner, ioOwner);
  try {
    if (io.stdin !== '') stdio.addInput(io.stdin);
    await stdio.addOutput(1, plan.stdout);
    if (plan.stderr === 'as stdout') stdio.shareOutput();
    else await stdio.addOutput(2, plan.stderr);
    return stdio;
  } catch (error) {
    await stdio[Symbol.asyncDispose]();
    throw error;
  }
}

class DirectStdio implements ProcessStdio {
  readonly childFds: StdioTarget[] = ['null', 'null', 'null'];
  readonly #platform: IoPlatform;
  readonly #owner: Owner;
  readonly #ioOwner: IoOwner;
  readonly #fds = new Descriptors();
  /** Closed once the process has them. */
  readonly #childOnly: number[] = [];
  /** Write ends without a reader yet, closed when the process has ended. */
  readonly #late: number[] = [];
  readonly lateOutputs: number[] = [];
  #stdinKeepFd: number | undefined;
  #logger: LogBinary | undefined;

  constructor(platform: IoPlatform, owner: Owner, ioOwner: IoOwner) {
    this.#platform = platform;
    this.#owner = owner;
    this.#ioOwner = ioOwner;
  }

  addInput(path: string): void {
    const { readFd, keepFd } = openInput(this.#platform.files, path, 'process');
    this.childFds[0] = this.#fds.own(readFd);
    this.#childOnly.push(readFd);
    this.#stdinKeepFd = this.#fds.own(keepFd);
    this.#giveTo(readFd);
  }

  get logProgram(): SavedLogProgram | undefined {
    return this.#logger?.saved;
  }

  async addOutput(index: 1 | 2, target: DirectTarget): Promise<void> {
    switch (target.kind) {
      case 'null':
        return;
      case 'fifo':
        return this.#addFifo(index, target.path);
      case 'file':
        this.#addFd(index, this.#fds.own(openAppend(target.path, { create: true })));
        return;
      case 'binary':
        this.#logger = await LogBinary.start(this.#platform, target, this.#owner);
        this.childFds[1] = this.#logger.stdoutFd;
        this.childFds[2] = this.#logger.stderrFd;
        this.#giveTo(this.#logger.stdoutFd);
        this.#giveTo(this.#logger.stderrFd);
        return;
    }
  }

  shareOutput(): void {
    if (this.#logger === undefined) this.childFds[2] = this.childFds[1] as StdioTarget;
  }

  async #addFifo(index: 1 | 2, path: string): Promise<void> {
    if (!isFifo(this.#platform, path)) {
      this.#addFd(index, this.#fds.own(openAppend(path, { create: false })));
      return;
    }
    const ends = await openOutput(this.#platform.files, path, 'process');
    this.#fds.own(ends.keepFd);
    this.#fds.own(ends.writeFd);
    this.childFds[index] = ends.writeFd;
    if (ends.hasReader) this.#childOnly.push(ends.writeFd);
    else {
      this.#late.push(ends.writeFd);
      this.lateOutputs.push(index);
    }
    this.#giveTo(ends.writeFd);
  }

  #addFd(index: 1 | 2, fd: number): void {
    this.childFds[index] = fd;
    this.#childOnly.push(fd);
  }

  #giveTo(fd: number): void {
    const { uid, gid } = this.#ioOwner;
    if (uid !== 0 || gid !== 0) fchownSync(fd, uid, gid);
  }

  releaseChild(): void {
    this.#fds.closeEach(this.#childOnly);
    this.#logger?.releaseWriters();
  }

  closeStdin(): void {
    this.#fds.close(this.#stdinKeepFd);
  }

  ended(): void {
    this.#fds.closeEach(this.#late);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fds[Symbol.dispose]();
    await this.#logger?.[Symbol.asyncDispose]();
  }
}

const isFifo = ({ files }: IoPlatform, path: string): boolean => files.lstat(path).kind === 'fifo';

/** The mode of a log file is containerd's; the program in the container must not be able to change where it ends. */
export function openAppend(path: string, { create }: { create: boolean }): number {
  if (!create) return openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOCTTY);
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  return openSync(
    path,
    constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOCTTY,
    0o644,
  );
}
