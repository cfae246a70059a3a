/**
 * Files on Linux: what Node's fs cannot say, by libc. Every call is synchronous and stays on its own thread, so that
 * a worker confined by `confineThread` may use them; none follows a final symlink.
 */
import { chmodSync, closeSync, constants, openSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { failedPrecondition } from '../../base/errors.ts';
import type { Instant } from '../../base/time.ts';
import { fromErrno, isErrno, withNodeErrors } from '../errno.ts';
import { openFifo } from '../fifo.ts';
import { deviceOf, diskSpace, lstatFile } from '../file-status.ts';
import type { FileOperations, FileStatus } from '../platform.ts';
import * as libc from './libc.ts';

/** The kernel's own bound for a value and for a list of names (XATTR_SIZE_MAX, XATTR_LIST_MAX). */
const xattrBytes = 64 * 1024;
const nanosecondsPerSecond = 1_000_000_000n;

function writeTimespec(into: Buffer, offset: number, instant: Instant): void {
  // timespec wants 0 <= nsec, also before the epoch.
  const nanoseconds = ((instant % nanosecondsPerSecond) + nanosecondsPerSecond) % nanosecondsPerSecond;
  into.writeBigInt64LE((instant - nanoseconds) / nanosecondsPerSecond, offset);
  into.writeBigInt64LE(nanoseconds, offset + 8);
}

export class LinuxFiles implements FileOperations {
  readonly #xattr = Buffer.allocUnsafeSlow(xattrBytes);
  readonly #times = Buffer.allocUnsafeSlow(32);

  lstat(path: string): FileStatus {
    return lstatFile(path);
  }

  setTimes(path: string, accessedAt: Instant, modifiedAt: Instant): void {
    writeTimespec(this.#times, 0, accessedAt);
    writeTimespec(this.#times, 16, modifiedAt);
    libc.check('utimensat', path, libc.utimensat(libc.AT_FDCWD, path, this.#times, libc.AT_SYMLINK_NOFOLLOW));
  }

  makeDevice(path: string, kind: 'block' | 'character', mode: number, major: number, minor: number): void {
    const type = kind === 'block' ? constants.S_IFBLK : constants.S_IFCHR;
    this.#makeNode(path, type, mode, deviceOf(major, minor));
  }

  makeFifo(path: string, mode: number): void {
    this.#makeNode(path, constants.S_IFIFO, mode, 0n);
  }

  #makeNode(path: string, type: number, mode: number, device: bigint): void {
    libc.check('mknod', path, libc.mknod(path, type | mode, device));
    // The umask belongs to the whole process, so it is undone afterwards instead of being changed meanwhile.
    if (this.lstat(path).mode !== mode) withNodeErrors(() => chmodSync(path, mode));
  }

  listXattrs(path: string): string[] {
    const length = libc.llistxattr(path, this.#xattr, xattrBytes);
    if (length < 0) {
      const error = fromErrno('llistxattr', path, libc.errno());
      if (error.code === 'Unimplemented') return [];
      throw error;
    }
    return this.#xattr.toString('utf8', 0, length).split('\0').slice(0, -1);
  }

  getXattr(path: string, name: string): Buffer | undefined {
    const length = libc.lgetxattr(path, name, this.#xattr, xattrBytes);
    if (length >= 0) return Buffer.from(this.#xattr.subarray(0, length));
    const error = fromErrno('lgetxattr', path, libc.errno());
    if (error.code === 'Unimplemented' || isErrno(error, 'ENODATA')) return undefined;
    throw error;
  }

  setXattr(path: string, name: string, value: Uint8Array): void {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    libc.check('lsetxattr', `${path} (${name})`, libc.lsetxattr(path, name, bytes, bytes.length, 0));
  }

  removeXattr(path: string, name: string): void {
    if (libc.lremovexattr(path, name) === 0) return;
    const error = fromErrno('lremovexattr', `${path} (${name})`, libc.errno());
    if (!isErrno(error, 'ENODATA')) throw error;
  }

  dataRanges(fd: number, sizeBytes: number): { offset: number; lengthBytes: number }[] {
    const before = libc.lseek(fd, 0, libc.SEEK_CUR);
    try {
      return scanDataRanges(fd, sizeBytes);
    } finally {
      libc.lseek(fd, Number(before), libc.SEEK_SET);
    }
  }

  async syncFileSystem(path: string): Promise<void> {
    const fd = withNodeErrors(() => openSync(path, constants.O_RDONLY));
    try {
      const result = await libc.syncfs(fd);
      if (result < 0) throw fromErrno('syncfs', path, -result);
    } finally {
      closeSync(fd);
    }
  }

  spreadChildren(path: string): void {
    const fd = withNodeErrors(() => openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
    try {
      const flags = Buffer.alloc(8);
      if (libc.ioctl(fd, libc.FS_IOC_GETFLAGS, flags) < 0) return;
      flags.writeUInt32LE((flags.readUInt32LE() | libc.FS_TOPDIR_FL) >>> 0);
      // Refused by most file systems: those of ext's family know it.
      libc.ioctl(fd, libc.FS_IOC_SETFLAGS, flags);
    } finally {
      closeSync(fd);
    }
  }

  tryLock(path: string): Disposable | undefined {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const fd = withNodeErrors(() => openSync(path, flags, 0o600));
    if (libc.flock(fd, libc.LOCK_EX | libc.LOCK_NB) === 0) {
      let held = true;
      return {
        [Symbol.dispose]: (): void => {
          if (held) closeSync(fd);
          held = false;
        },
      };
    }
    const error = fromErrno('flock', path, libc.errno());
    closeSync(fd);
    if (isErrno(error, 'EAGAIN')) return undefined;
    throw error;
  }

  confineThread(root: string): void {
    if (isMainThread)
      throw failedPrecondition('confineThread would confine the whole process: call it in a worker');
    libc.check('unshare', '', libc.unshare(libc.CLONE_FS));
    libc.check('chroot', root, libc.chroot(root));
    libc.check('chdir', '/', libc.chdir('/'));
  }

  openFifo(path: string, access: 'read' | 'write' | 'read-write', options: { nonBlocking: boolean }): number {
    return openFifo(path, access, options);
  }

  diskSpace(path: string): { freeBytes: number; totalBytes: number } {
    return diskSpace(path);
  }
}

function scanDataRanges(fd: number, sizeBytes: number): { offset: number; lengthBytes: number }[] {
  const ranges: { offset: number; lengthBytes: number }[] = [];
  let offset = 0;
  while (offset < sizeBytes) {
    const start = Number(libc.lseek(fd, offset, libc.SEEK_DATA));
    if (start < 0) {
      const error = fromErrno('lseek', '', libc.errno());
      if (isErrno(error, 'ENXIO')) break;
      if (error.code === 'InvalidArgument' || error.code === 'Unimplemented')
        return [{ offset: 0, lengthBytes: sizeBytes }];
      throw error;
    }
    if (start >= sizeBytes) break;
    const hole = Number(libc.lseek(fd, start, libc.SEEK_HOLE));
    const end = hole < 0 || hole > sizeBytes ? sizeBytes : hole;
    ranges.push({ offset: start, lengthBytes: end - start });
    offset = end;
  }
  return ranges;
}
