/**
 * Runs a program to its end and keeps what it printed.
 *
 * The end is the exit of the program itself. Its output goes to unlinked files and not to pipes: a pipe ends only
 * when its last holder does, and `runc create` leaves a container behind that would hold it.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkSignal } from '../base/context.ts';
import { hasCode, resourceExhausted } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { withNodeErrors } from './errno.ts';
import type { CommandResult, ProcessOperations } from './platform.ts';
import { SIGKILL } from './signals.ts';

export interface CommandRequest {
  /** Absolute path, or a name looked up on PATH of `env`. */
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: Uint8Array;
  /** Bound of each output stream; a program that passes it is killed. Default: limits.commandOutputBytes. */
  readonly maxOutputBytes?: number;
  readonly signal?: AbortSignal;
}

const watchMs = 100;

/** A file without a name, read and written by descriptor only. */
function anonymousFile(cleanup: DisposableStack): number {
  return withNodeErrors(() => {
    const path = join(tmpdir(), `gantry-command-${randomUUID()}`);
    const fd = openSync(path, 'wx+', 0o600);
    cleanup.defer(() => closeSync(fd));
    unlinkSync(path);
    return fd;
  });
}

function writeInput(fd: number, input: Uint8Array): void {
  let offset = 0;
  // By position, so that the offset that the child inherits stays at the beginning.
  while (offset < input.length) offset += writeSync(fd, input, offset, input.length - offset, offset);
}

function readOutput(fd: number): Buffer {
  const output = Buffer.alloc(fstatSync(fd).size);
  let length = 0;
  while (length < output.length) {
    const count = readSync(fd, output, length, output.length - length, length);
    if (count === 0) break;
    length += count;
  }
  return output.subarray(0, length);
}

/**
 * Resolves when the program has ended, whatever its status. It runs in a process group of its own, all of which is
 * killed when the signal fires. Errors: NotFound when there is no such program, ResourceExhausted when it prints
 * more than the bound, Canceled and DeadlineExceeded by the signal.
 */
export async function runCommand(
  processes: Pick<ProcessOperations, 'spawn' | 'exited' | 'kill'>,
  request: CommandRequest,
): Promise<CommandResult> {
  const { file, args, env, signal } = request;
  const maxBytes = request.maxOutputBytes ?? limits.commandOutputBytes;
  if (signal !== undefined) checkSignal(signal);
  using cleanup = new DisposableStack();
  const stdout = anonymousFile(cleanup);
  const stderr = anonymousFile(cleanup);
  const isOver = (): boolean => fstatSync(stdout).size > maxBytes || fstatSync(stderr).size > maxBytes;
  let stdin: number | 'null' = 'null';
  if (request.stdin !== undefined) {
    stdin = anonymousFile(cleanup);
    writeInput(stdin, request.stdin);
  }
  const cwd = request.cwd === undefined ? {} : { cwd: request.cwd };
  const pid = processes.spawn({
    file,
    args,
    env,
    ...cwd,
    stdio: [stdin, stdout, stderr],
    newProcessGroup: true,
  });
  const unkillable = Promise.withResolvers<never>();
  // Called where an exception would be nobody's: by the signal and by a timer.
  const kill = (): void => {
    try {
      processes.kill(-pid, SIGKILL);
    } catch (error) {
      if (!hasCode(error, 'NotFound')) unkillable.reject(error);
    }
  };
  signal?.addEventListener('abort', kill, { once: true });
  cleanup.defer(() => signal?.removeEventListener('abort', kill));
  const watch = setInterval(() => isOver() && kill(), watchMs);
  cleanup.defer(() => clearInterval(watch));
  const { status } = await Promise.race([processes.exited(pid), unkillable.promise]);
  if (signal !== undefined) checkSignal(signal);
  if (isOver()) throw resourceExhausted(`${file} printed more than ${maxBytes} bytes`);
  return { status, stdout: readOutput(stdout), stderr: readOutput(stderr) };
}
