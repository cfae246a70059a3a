/**
 * User namespaces with mappings. A process of many threads cannot make one for itself, so unshare(1) makes it, in a
 * child that is killed once what is wanted of it is open. Takes some milliseconds of the calling thread.
 */
import { readlinkSync, writeFileSync } from 'node:fs';
import { internal } from '../../base/errors.ts';
import { withNodeErrors } from '../errno.ts';
import { reapKilled } from './reap-killed.ts';
import { posixSpawn } from './spawn.ts';

const namespaceMs = 5_000;

/** Lines of /proc/PID/uid_map and gid_map, each `CONTAINER HOST SIZE`. */
export interface IdMapLines {
  readonly uid: string;
  readonly gid: string;
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function awaitNamespace(pid: number): void {
  const ours = readlinkSync('/proc/self/ns/user');
  const deadline = performance.now() + namespaceMs;
  while (withNodeErrors(() => readlinkSync(`/proc/${pid}/ns/user`)) === ours) {
    if (performance.now() > deadline) throw internal('unshare --user did not make a user namespace');
    pause(1);
  }
}

/**
 * Runs `use` with a process in a new user namespace, and in the further ones that options of unshare(1) ask for: those
 * belong to the new one, because one unshare(2) makes them all. The process ends with the call. Errors: NotFound
 * without unshare(1), InvalidArgument for mappings that the kernel refuses.
 */
export function withUserNamespace<Result>(
  lines: IdMapLines,
  options: readonly string[],
  use: (pid: number) => Result,
): Result {
  const args = ['--user', ...options, '--', 'sleep', '60'];
  const env = { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' };
  const pid = posixSpawn({ file: 'unshare', args, env, stdio: ['null', 'null', 'null'] });
  try {
    awaitNamespace(pid);
    return withNodeErrors(() => {
      writeFileSync(`/proc/${pid}/uid_map`, lines.uid);
      writeFileSync(`/proc/${pid}/gid_map`, lines.gid);
      return use(pid);
    });
  } finally {
    reapKilled(pid);
  }
}
