/**
 * Copies a directory tree as it is: kinds, modes, owners, nanosecond times, xattrs, hard links, devices and holes,
 * by reflink where the file system has it. The target directory exists and is empty. Sockets are left out, as tar
 * does. Stays inside: nothing follows a symlink.
 */
import { constants } from 'node:fs';
import { chmod, copyFile, lchown, link, mkdir, open, readdir, readlink, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { checkSignal } from '../../base/context.ts';
import type { FileOperations, FileStatus } from '../../platform/platform.ts';

interface Copy {
  readonly files: FileOperations;
  readonly signal: AbortSignal | undefined;
  /** First copy of each hard-linked inode. */
  readonly linked: Map<string, string>;
  readonly isPrivileged: boolean;
}

export async function copyTree(
  files: FileOperations,
  from: string,
  to: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  const isPrivileged = process.geteuid?.() === 0;
  await copyDirectory({ files, signal, linked: new Map(), isPrivileged }, from, to);
}

async function copyDirectory(copy: Copy, from: string, to: string): Promise<void> {
  const status = copy.files.lstat(from);
  for (const name of await readdir(from)) {
    if (copy.signal !== undefined) checkSignal(copy.signal);
    await copyEntry(copy, join(from, name), join(to, name));
  }
  // Last: writing into it changes its times, and its mode may forbid that.
  await copyMetadata(copy, { from, to, status });
}

async function copyEntry(copy: Copy, from: string, to: string): Promise<void> {
  const status = copy.files.lstat(from);
  if (status.kind === 'directory') {
    await mkdir(to, { mode: 0o700 });
    await copyDirectory(copy, from, to);
    return;
  }
  if (status.linkCount > 1) {
    const inode = `${status.device}:${status.inode}`;
    const first = copy.linked.get(inode);
    if (first !== undefined) {
      await link(first, to);
      return;
    }
    copy.linked.set(inode, to);
  }
  if (status.kind === 'socket') return;
  if (status.kind === 'file') await copyBytes(copy.files, { from, to, status });
  else if (status.kind === 'symlink') await symlink(await readlink(from), to);
  else if (status.kind === 'fifo') copy.files.makeFifo(to, 0o600);
  else copy.files.makeDevice(to, status.kind, 0o600, status.deviceMajor, status.deviceMinor);
  await copyMetadata(copy, { from, to, status });
}

interface Pair {
  readonly from: string;
  readonly to: string;
  readonly status: FileStatus;
}

async function copyBytes(files: FileOperations, { from, to, status }: Pair): Promise<void> {
  const isSparse = status.blocks * 512 < status.sizeBytes;
  if (!isSparse) {
    await using created = await open(to, 'wx', 0o600);
    await copyFile(from, to, constants.COPYFILE_FICLONE);
    await created.chmod(0o600);
    return;
  }
  await using source = await open(from, 'r');
  await using target = await open(to, 'wx', 0o600);
  await target.truncate(status.sizeBytes);
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  for (const { offset, lengthBytes } of files.dataRanges(source.fd, status.sizeBytes))
    for (let at = offset; at < offset + lengthBytes; ) {
      const wanted = Math.min(buffer.length, offset + lengthBytes - at);
      const { bytesRead } = await source.read(buffer, 0, wanted, at);
      if (bytesRead === 0) return;
      await writeAll(target, buffer.subarray(0, bytesRead), at);
      at += bytesRead;
    }
}

async function writeAll(
  target: Awaited<ReturnType<typeof open>>,
  bytes: Buffer,
  offset: number,
): Promise<void> {
  for (let written = 0; written < bytes.length; )
    written += (await target.write(bytes, written, bytes.length - written, offset + written)).bytesWritten;
}

/** Owner, xattrs, mode, times: each undoes the next. */
async function copyMetadata(copy: Copy, { from, to, status }: Pair): Promise<void> {
  if (copy.isPrivileged) await lchown(to, status.uid, status.gid);
  for (const name of copy.files.listXattrs(from)) {
    const value = copy.files.getXattr(from, name);
    if (value !== undefined) copy.files.setXattr(to, name, value);
  }
  if (status.kind !== 'symlink') await chmod(to, status.mode);
  copy.files.setTimes(to, status.accessedAt, status.modifiedAt);
}
