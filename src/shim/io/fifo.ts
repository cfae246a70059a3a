/**
 * Opening FIFOs so that a container gets one end without a relay in between (fifo(7)).
 *
 * Output: the shim keeps a read end that it never reads, so a client that goes away does not kill the writer by
 * SIGPIPE, and what the client has not read yet stays in the pipe. Input: the shim keeps a write end until CloseIO, so
 * clients may come and go before the container sees the end. Descriptors for the container are blocking ones: what it
 * gets must behave like any pipe.
 */
import { setTimeout as after } from 'node:timers/promises';
import { isErrno } from '../../platform/errno.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { Descriptors } from './descriptors.ts';

/** How long the reader of an output may take to open it, before the process starts without. */
const readerWaitMs = 1_000;
const readerRetryMs = 5;

export interface OutputEnds {
  /** Blocking; for a process it is open for both directions. */
  readonly writeFd: number;
  /** Kept and never read. */
  readonly keepFd: number;
  /**
   * A client opened it. When not, the shim must keep its write end while the process lives, for a late reader would
   * wait for a writer.
   */
  readonly hasReader: boolean;
}

/**
 * Both ends belong to the caller. A process gets an end that reads as well, so that it has a reader of its own and
 * does not die by SIGPIPE when the shim is killed while no client is there.
 * Errors: NotFound; InvalidArgument when `path` is no FIFO.
 */
export async function openOutput(
  files: FileOperations,
  path: string,
  writer: 'process' | 'shim',
): Promise<OutputEnds> {
  using opened = new Descriptors();
  const access = writer === 'process' ? 'read-write' : 'write';
  // Without a reader this fails, which is the only way to learn that the client has not come yet. containerd waits
  // for it without a bound.
  const probe = await openWhenRead(files, path);
  if (probe !== undefined) opened.own(probe);
  const keepFd = opened.own(files.openFifo(path, 'read', { nonBlocking: true }));
  const writeFd = opened.own(files.openFifo(path, access, { nonBlocking: false }));
  return {
    writeFd: opened.release(writeFd),
    keepFd: opened.release(keepFd),
    hasReader: probe !== undefined,
  };
}

async function openWhenRead(files: FileOperations, path: string): Promise<number | undefined> {
  for (let waitedMs = 0; ; waitedMs += readerRetryMs) {
    try {
      return files.openFifo(path, 'write', { nonBlocking: true });
    } catch (error) {
      if (!isErrno(error, 'ENXIO')) throw error;
    }
    if (waitedMs >= readerWaitMs) return undefined;
    await after(readerRetryMs);
  }
}

export interface InputEnds {
  /** Blocking when it is for a process, not so when the shim reads it. */
  readonly readFd: number;
  readonly keepFd: number;
}

/** Both ends belong to the caller. Errors: NotFound; InvalidArgument when `path` is no FIFO. */
export function openInput(files: FileOperations, path: string, reader: 'process' | 'shim'): InputEnds {
  using opened = new Descriptors();
  // Opening for both directions never waits, and lets the other two through.
  opened.own(files.openFifo(path, 'read-write', { nonBlocking: true }));
  const readFd = opened.own(files.openFifo(path, 'read', { nonBlocking: reader === 'shim' }));
  const keepFd = opened.own(files.openFifo(path, 'write', { nonBlocking: true }));
  return { readFd: opened.release(readFd), keepFd: opened.release(keepFd) };
}
