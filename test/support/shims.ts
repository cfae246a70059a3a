/** The shim processes of a daemon of ours, by the notes in their directories. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../src/platform/errno.ts';
import type { Daemon } from './daemon.ts';

/** Pids of those that run. */
export async function shimPids(daemon: Daemon): Promise<number[]> {
  const directory = join(daemon.state, 'io.containerd.shim.v1.manager');
  const pids: number[] = [];
  for (const group of await readdir(directory).catch(() => [])) {
    const note = await readFile(join(directory, group, 'pid'), 'utf8').catch(() => '');
    const pid = Number(note.split(' ')[0]);
    if (pid > 0 && existsSync(`/proc/${pid}`) && !(await isZombie(pid))) pids.push(pid);
  }
  return pids;
}

async function isZombie(pid: number): Promise<boolean> {
  return /\) Z /.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z '));
}

/** Ends one as the kernel would for want of memory. False when it has ended by itself. */
export function killShim(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (isErrno(error, 'ESRCH')) return false;
    throw error;
  }
}
