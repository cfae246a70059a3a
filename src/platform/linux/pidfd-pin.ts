/**
 * A process's exit code that outlives everybody who watched it: its pidfd mounted on a file, as `ip netns` keeps a
 * network namespace. The mount holds the kernel's record of the process (pidfs), and with it how it ended, after it
 * was reaped and when no descriptor is open any more. Needs Linux 6.15; older kernels refuse the mount.
 */
import { openSync, writeFileSync } from 'node:fs';
import * as libc from './libc.ts';
import { keepsExits } from './pidfd-info.ts';

/** False where the kernel cannot, or the process is gone. `path` is made; unmounting it lets go (open_tree(2)). */
export function pinPidfd(pid: number, path: string): boolean {
  const pidfd = libc.pidfdOpen(pid);
  if (pidfd < 0) return false;
  try {
    const flags = libc.OPEN_TREE_CLONE | libc.OPEN_TREE_CLOEXEC | libc.AT_EMPTY_PATH;
    const tree = libc.openTree(pidfd, '', flags);
    if (tree < 0) return false;
    try {
      writeFileSync(path, '', { flag: 'a', mode: 0o600 });
      return libc.moveMount(tree, path) === 0;
    } finally {
      libc.closeDescriptor(tree);
    }
  } finally {
    libc.closeDescriptor(pidfd);
  }
}

/** A descriptor of what is pinned there, owned by the caller; undefined when nothing is. */
export function openPinned(path: string): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch {
    return undefined;
  }
  // The file beneath the mount is a plain one, which does not know the question.
  if (keepsExits(descriptor)) return descriptor;
  libc.closeDescriptor(descriptor);
  return undefined;
}
