/**
 * Files by Node alone. Times lose what a double of seconds cannot hold (about 100 ns), extended attributes are not
 * seen, and locks are pid files.
 */
import { constants, lutimesSync } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { unimplemented } from '../../base/errors.ts';
import type { Instant } from '../../base/time.ts';
import { fromNodeError, isErrno, withNodeErrors } from '../errno.ts';
import { openFifo } from '../fifo.ts';
import { diskSpace, lstatFile } from '../file-status.ts';
import type { FileOperations, FileStatus } from '../platform.ts';
import { tryPidLock } from './pid-lock.ts';

const secondsOf = (instant: Instant): number => Number(instant) / 1e9;

export class PortableFiles implements FileOperations {
  lstat(path: string): FileStatus {
    return lstatFile(path);
  }

  setTimes(path: string, accessedAt: Instant, modifiedAt: Instant): void {
    withNodeErrors(() => lutimesSync(path, secondsOf(accessedAt), secondsOf(modifiedAt)));
  }

  makeDevice(path: string): void {
    throw unimplemented(`files.makeDevice ${path} is not available on this platform`);
  }

  makeFifo(path: string): void {
    throw unimplemented(`files.makeFifo ${path} is not available on this platform`);
  }

  listXattrs(): string[] {
    return [];
  }

  getXattr(): undefined {
    return undefined;
  }

  setXattr(path: string, name: string): void {
    throw unimplemented(`files.setXattr ${path} (${name}) is not available on this platform`);
  }

  /** There are none to remove. */
  removeXattr(): void {}

  dataRanges(_fd: number, sizeBytes: number): { offset: number; lengthBytes: number }[] {
    return sizeBytes === 0 ? [] : [{ offset: 0, lengthBytes: sizeBytes }];
  }

  async syncFileSystem(path: string): Promise<void> {
    try {
      await syncTree(path);
    } catch (error) {
      throw fromNodeError(error);
    }
  }

  spreadChildren(): void {}

  tryLock(path: string): Disposable | undefined {
    return tryPidLock(path);
  }

  confineThread(root: string): void {
    throw unimplemented(`files.confineThread ${root} is not available on this platform`);
  }

  openFifo(path: string, access: 'read' | 'write' | 'read-write', options: { nonBlocking: boolean }): number {
    return openFifo(path, access, options);
  }

  diskSpace(path: string): { freeBytes: number; totalBytes: number } {
    return diskSpace(path);
  }
}

/** Files before the directories that name them. Links are not followed, and what is neither file nor directory has no bytes. */
async function syncTree(path: string): Promise<void> {
  const status = await lstat(path);
  if (status.isDirectory()) for (const name of await readdir(path)) await syncEntry(join(path, name));
  else if (!status.isFile()) return;
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  await handle.sync();
}

/** Others work in the same tree: what they have taken away meanwhile needs no sync. */
async function syncEntry(path: string): Promise<void> {
  try {
    await syncTree(path);
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
}
