/** A directory of this machine as a FileTree, to make sample images of what is there. */
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { instantOfMs } from '../../base/time.ts';
import type { FileTree, TreeNode } from './image-builder.ts';

/** Files, directories and symlinks below `directory`; owner root. Sockets, devices and fifos are left out. */
export async function treeOfDirectory(directory: string): Promise<FileTree> {
  const tree: Record<string, TreeNode> = {};
  await collect(directory, '', tree);
  return tree;
}

async function collect(directory: string, prefix: string, tree: Record<string, TreeNode>): Promise<void> {
  for (const name of (await readdir(directory)).sort()) {
    const path = join(directory, name);
    const inTar = `${prefix}${name}`;
    const status = await lstat(path);
    const common = { mode: status.mode & 0o7777, modifiedAt: instantOfMs(status.mtimeMs) };
    if (status.isDirectory()) {
      tree[`${inTar}/`] = common;
      await collect(path, `${inTar}/`, tree);
    } else if (status.isSymbolicLink()) {
      tree[inTar] = { ...common, kind: 'symlink', mode: 0o777, link: await readlink(path) };
    } else if (status.isFile()) {
      tree[inTar] = { ...common, content: await readFile(path) };
    }
  }
}
