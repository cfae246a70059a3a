/**
 * A directory tree as data, to be compared: type, mode, owner, nanosecond mtime, xattrs, link count and bytes.
 * What is not compared: access and change times, inode numbers, directory sizes and link counts.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { FileKind, FileOperations } from '../platform/platform.ts';
import { selectPlatform } from '../platform/select.ts';

export interface TreeEntry {
  /** Relative; "." for the root. */
  readonly path: string;
  readonly kind: FileKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedNs: bigint;
  /** Of files and symlinks, else 0. */
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly target: string;
  readonly device: string;
  readonly xattrs: Readonly<Record<string, string>>;
  /** Not of directories: that number depends on the file system. */
  readonly linkCount: number;
  /** First path, in order, of the same inode: tells which names are one file. */
  readonly linkedTo: string;
}

/** Every entry below `root` and itself, parents first, in byte order of names. */
export async function readTree(root: string): Promise<TreeEntry[]> {
  const { files } = await selectPlatform();
  const entries: TreeEntry[] = [];
  const inodes = new Map<string, string>();
  const visit = (path: string): void => {
    const entry = readEntry(root, path, { files, inodes });
    entries.push(entry);
    if (entry.kind !== 'directory') return;
    for (const name of readdirSync(join(root, path)).sort()) visit(path === '.' ? name : `${path}/${name}`);
  };
  visit('.');
  return entries;
}

function readEntry(
  root: string,
  path: string,
  { files, inodes }: { files: FileOperations; inodes: Map<string, string> },
): TreeEntry {
  const full = join(root, path);
  const status = files.lstat(full);
  const isDirectory = status.kind === 'directory';
  const inode = `${status.device}:${status.inode}`;
  if (!inodes.has(inode)) inodes.set(inode, path);
  const xattrs: Record<string, string> = {};
  for (const name of files.listXattrs(full).sort())
    xattrs[name] = files.getXattr(full, name)?.toString('hex') ?? '';
  const hasSize = status.kind === 'file' || status.kind === 'symlink';
  return {
    path,
    kind: status.kind,
    mode: status.mode,
    uid: status.uid,
    gid: status.gid,
    modifiedNs: status.modifiedAt,
    sizeBytes: hasSize ? status.sizeBytes : 0,
    sha256: status.kind === 'file' ? createHash('sha256').update(readFileSync(full)).digest('hex') : '',
    target: status.kind === 'symlink' ? readlinkSync(full) : '',
    device: `${status.deviceMajor}:${status.deviceMinor}`,
    xattrs,
    linkCount: isDirectory ? 0 : status.linkCount,
    linkedTo: isDirectory ? path : inodes.get(inode)!,
  };
}

/** One line for each difference, none when the trees are equal. `ignore` leaves fields out. */
export function diffTrees(
  left: readonly TreeEntry[],
  right: readonly TreeEntry[],
  { ignore = [] }: { ignore?: readonly (keyof TreeEntry)[] } = {},
): string[] {
  const differences: string[] = [];
  const others = new Map(right.map((entry) => [entry.path, entry]));
  for (const entry of left) {
    const other = others.get(entry.path);
    others.delete(entry.path);
    if (other === undefined) differences.push(`${entry.path}: only on the left (${entry.kind})`);
    else differences.push(...diffEntry(entry, other, ignore));
  }
  for (const entry of others.values()) differences.push(`${entry.path}: only on the right (${entry.kind})`);
  return differences;
}

function diffEntry(left: TreeEntry, right: TreeEntry, ignore: readonly (keyof TreeEntry)[]): string[] {
  const differences: string[] = [];
  for (const field of Object.keys(left) as (keyof TreeEntry)[]) {
    if (ignore.includes(field)) continue;
    const [a, b] = [shown(left[field]), shown(right[field])];
    if (a !== b) differences.push(`${left.path}: ${field} ${a} and ${b}`);
  }
  return differences;
}

const shown = (value: TreeEntry[keyof TreeEntry]): string =>
  typeof value === 'object' ? JSON.stringify(value) : typeof value === 'number' ? `${value}` : String(value);
