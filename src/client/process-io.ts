/**
 * A process's standard streams as FIFOs that the daemon's shim opens at their other ends.
 *
 * Opening never blocks: readers open non-blocking before the shim writes, and stdin is opened for both directions, so
 * that it neither waits for a reader nor breaks when the process has gone. A reader ends when every writer has
 * closed. FIFOs cannot be made by Node alone, so whoever has a platform gives the function that makes them.
 */
import { constants, openSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { raceTime } from '../base/bounded-wait.ts';
import { wrap } from '../base/errors.ts';
import type { ProcessIo } from '../core/runtime/task-manager.ts';
import { pipeReader, pipeWriter } from '../wire/pipe.ts';

/** mkfifo(3) with that mode whatever the umask. */
export type FifoMaker = (path: string, mode: number) => void | Promise<void>;

export interface FifoOptions {
  readonly makeFifo: FifoMaker;
  /** Where FIFOs are made, each process's in a directory of its own, mode 0700. */
  readonly directory: string;
}

export interface WantedStreams {
  readonly stdin: boolean;
  /** One stream for both outputs, through a pty. */
  readonly terminal: boolean;
}

/**
 * Our ends of the streams. Disposing closes them and removes the FIFOs. Whoever holds it must read stdout and stderr
 * to the end: a full FIFO stops the process.
 */
export interface ProcessStreams extends AsyncDisposable {
  /** What the daemon is told. */
  readonly paths: ProcessIo;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Waits until every output has come to its end, no longer than `timeoutMs`. */
  drained(timeoutMs: number): Promise<void>;
  /** Closes our ends and leaves the FIFOs for somebody who attaches later. */
  leave(): void;
}

export const noStreams: ProcessIo = { stdin: '', stdout: '', stderr: '', terminal: false };

/** Both outputs into one log (`file:///…`, `binary:///…`), written by the shim. */
export const logStreams = (uri: string): ProcessIo => ({ ...noStreams, stdout: uri, stderr: uri });

/** Errors: PermissionDenied, NotFound, Unimplemented of the system calls. */
export async function makeStreams(
  { makeFifo, directory }: FifoOptions,
  { stdin, terminal }: WantedStreams,
): Promise<ProcessStreams> {
  await mkdir(directory, { recursive: true, mode: 0o711 });
  const own = await mkdtemp(join(directory, 'io-'));
  try {
    const fifo = async (name: string, wanted: boolean): Promise<string> => {
      if (!wanted) return '';
      const path = join(own, name);
      await makeFifo(path, 0o600);
      return path;
    };
    const paths = {
      stdin: await fifo('stdin', stdin),
      stdout: await fifo('stdout', true),
      stderr: await fifo('stderr', !terminal),
      terminal,
    };
    return openStreams(paths, { remove: () => rm(own, { recursive: true, force: true }) });
  } catch (error) {
    await rm(own, { recursive: true, force: true });
    throw wrap(`make FIFOs in ${own}`, error);
  }
}

/** Our ends of FIFOs that are there: to attach to a running process. Only one attached client gets each byte. */
export function attachStreams(paths: ProcessIo): ProcessStreams {
  return openStreams(paths, { remove: async () => {} });
}

function openStreams(paths: ProcessIo, { remove }: { remove: () => Promise<void> }): ProcessStreams {
  const opened: (Readable | Writable)[] = [];
  const reader = (path: string): Readable | undefined => {
    if (path === '') return undefined;
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const socket = pipeReader(fd);
    opened.push(socket);
    return socket;
  };
  const close = (): void => {
    for (const socket of opened) socket.destroy();
  };
  try {
    const stdin = writerOf(paths.stdin);
    if (stdin !== undefined) opened.push(stdin);
    const stdout = reader(paths.stdout);
    const stderr = reader(paths.stderr);
    const ends = [stdout, stderr].filter((socket) => socket !== undefined).map(ended);
    return {
      paths,
      stdin,
      stdout,
      stderr,
      drained: async (timeoutMs) => {
        await raceTime(Promise.all(ends), timeoutMs);
      },
      leave: close,
      [Symbol.asyncDispose]: async () => {
        close();
        await remove();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

function writerOf(path: string): Writable | undefined {
  if (path === '') return undefined;
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const socket = pipeWriter(fd);
  // What is written after the process has gone is nobody's.
  socket.on('error', () => undefined);
  return socket;
}

const ended = (socket: Readable): Promise<void> =>
  new Promise((resolve) => {
    socket.once('end', () => resolve());
    socket.once('close', () => resolve());
    socket.once('error', () => resolve());
  });
