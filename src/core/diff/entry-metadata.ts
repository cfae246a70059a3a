/**
 * Owner, extended attributes, mode and times of what a layer brings, in that order, because each undoes the next.
 * Overlayfs' own attributes are not taken from images; without privilege owners are left as they are.
 */
import { chmodSync, fchmodSync, fchownSync, lchownSync } from 'node:fs';
import { hasCode } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { type Instant, instantOfNs } from '../../base/time.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { isOverlayXattr, type LowerNode } from './lower-tree.ts';
import type { TarEntry } from './tar-entry.ts';
import type { FileTimes } from './tree-place.ts';

const latestNs = 2n ** 63n - 1n;

/** As containerd bounds times: outside of what nanoseconds in 64 bits can say is the epoch. */
const boundTime = (time: Instant): Instant => (time < 0n || time > latestNs ? instantOfNs(0n) : time);

export function timesOf(entry: TarEntry): FileTimes {
  const time = boundTime(entry.modifiedAt);
  return { accessedAt: time, modifiedAt: time };
}

export class EntryMetadata {
  readonly #files: FileOperations;
  readonly #log: Logger;
  readonly #isPrivileged = process.geteuid?.() === 0;

  constructor({ files, log }: { files: FileOperations; log: Logger }) {
    this.#files = files;
    this.#log = log;
  }

  /** Everything but the times, which of a directory are set when it is full. */
  set(path: string, entry: TarEntry, { isSymlink = false }: { isSymlink?: boolean } = {}): void {
    this.setOwner(path, entry);
    this.#setXattrs(path, entry.xattrs);
    // chown clears setuid and setgid, so the mode comes after it.
    if (!isSymlink) chmodSync(path, entry.mode);
  }

  /** As `set`, for the file that `fd` has open. */
  setOpen(fd: number, path: string, entry: TarEntry): void {
    if (this.#isPrivileged) fchownSync(fd, entry.uid, entry.gid);
    this.#setXattrs(path, entry.xattrs);
    fchmodSync(fd, entry.mode);
  }

  setOwner(path: string, { uid, gid }: { readonly uid: number; readonly gid: number }): void {
    if (this.#isPrivileged) lchownSync(path, uid, gid);
  }

  setTimes(path: string, { accessedAt, modifiedAt }: FileTimes): void {
    this.#files.setTimes(path, accessedAt, modifiedAt);
  }

  /** Of a lower directory that is made here too. */
  copy(path: string, { status, xattrs }: LowerNode): void {
    this.setOwner(path, status);
    this.#setXattrs(path, xattrs);
    chmodSync(path, status.mode);
  }

  /** A directory that a layer names again has the attributes that this layer gives it, and no others of images. */
  dropXattrs(path: string, { xattrs }: TarEntry): void {
    for (const name of this.#files.listXattrs(path))
      if (name.startsWith('user.') && !isOverlayXattr(name) && !xattrs.has(name))
        this.#files.removeXattr(path, name);
  }

  #setXattrs(path: string, xattrs: ReadonlyMap<string, Uint8Array>): void {
    for (const [name, value] of xattrs) {
      if (isOverlayXattr(name) || (name.startsWith('trusted.') && !this.#isPrivileged)) continue;
      try {
        this.#files.setXattr(path, name, value);
      } catch (error) {
        if (!hasCode(error, 'Unimplemented')) throw error;
        this.#log.warn({ path, xattr: name }, 'file system does not take an extended attribute');
      }
    }
  }
}
