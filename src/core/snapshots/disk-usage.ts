/** What a tree takes on disk: allocated bytes and inodes, each hard-linked file once. Stays on one file system. */
import type { Stats } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../platform/errno.ts';
import type { SnapshotUsage } from './snapshotter.ts';

const blockBytes = 512;

/** Errors of the file system, but not for entries that vanish meanwhile: a running container writes on. */
export async function diskUsage(
  root: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<SnapshotUsage> {
  const linked = new Set<string>();
  const pending = [root];
  let sizeBytes = 0;
  let inodes = 0;
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    signal?.throwIfAborted();
    const stats = await statIfThere(path);
    if (stats === undefined) continue;
    if (!stats.isDirectory() && stats.nlink > 1) {
      const inode = `${stats.dev}:${stats.ino}`;
      if (linked.has(inode)) continue;
      linked.add(inode);
    }
    inodes += 1;
    sizeBytes += stats.blocks * blockBytes;
    if (stats.isDirectory()) for await (const name of namesOf(path)) pending.push(join(path, name));
  }
  return { sizeBytes, inodes };
}

const isGone = (error: unknown): boolean => isErrno(error, 'ENOENT');

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

async function* namesOf(path: string): AsyncGenerator<string, void> {
  try {
    for await (const entry of await opendir(path)) yield entry.name;
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}
