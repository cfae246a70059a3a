/** Node's stat as a FileStatus: bigint, so that times, inodes and devices keep every bit. For both platforms. */
import { type BigIntStats, lstatSync, statfsSync } from 'node:fs';
import { instantOfNs } from '../base/time.ts';
import { withNodeErrors } from './errno.ts';
import type { FileKind, FileStatus } from './platform.ts';

function kindOf(stats: BigIntStats): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  return stats.isBlockDevice() ? 'block' : 'character';
}

/** Major and minor of a Linux dev_t as the C library packs it (makedev(3)). */
const majorOf = (device: bigint): number =>
  Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xffff_f000n));
const minorOf = (device: bigint): number => Number((device & 0xffn) | ((device >> 12n) & 0xffff_ff00n));
export const deviceOf = (major: number, minor: number): bigint => {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return (
    ((high & 0xffff_f000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffff_ff00n) << 12n) | (low & 0xffn)
  );
};

export function statusOf(stats: BigIntStats): FileStatus {
  const kind = kindOf(stats);
  const isDevice = kind === 'block' || kind === 'character';
  return {
    kind,
    mode: Number(stats.mode & 0o7777n),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    sizeBytes: Number(stats.size),
    device: stats.dev,
    inode: stats.ino,
    linkCount: Number(stats.nlink),
    deviceMajor: isDevice ? majorOf(stats.rdev) : 0,
    deviceMinor: isDevice ? minorOf(stats.rdev) : 0,
    modifiedAt: instantOfNs(stats.mtimeNs),
    accessedAt: instantOfNs(stats.atimeNs),
    changedAt: instantOfNs(stats.ctimeNs),
    blocks: Number(stats.blocks),
  };
}

export const lstatFile = (path: string): FileStatus =>
  statusOf(withNodeErrors(() => lstatSync(path, { bigint: true })));

/** FileOperations.diskSpace. */
export function diskSpace(path: string): { freeBytes: number; totalBytes: number } {
  const stats = withNodeErrors(() => statfsSync(path));
  return { freeBytes: stats.bavail * stats.bsize, totalBytes: stats.blocks * stats.bsize };
}
