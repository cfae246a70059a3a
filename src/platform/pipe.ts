/** pipe(2) with blocking ends; Node has no call for it, so a FIFO that nobody else sees. */
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileOperations } from './platform.ts';

export interface PipeEnds {
  readonly readFd: number;
  readonly writeFd: number;
}

/** Both ends belong to the caller. */
export function makePipe(files: FileOperations): PipeEnds {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-pipe-'));
  try {
    const path = join(directory, 'p');
    files.makeFifo(path, 0o600);
    // Opening for both directions never waits, and lets the other two through.
    const both = files.openFifo(path, 'read-write', { nonBlocking: true });
    try {
      const readFd = files.openFifo(path, 'read', { nonBlocking: false });
      return { readFd, writeFd: files.openFifo(path, 'write', { nonBlocking: false }) };
    } finally {
      closeSync(both);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
