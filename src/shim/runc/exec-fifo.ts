/**
 * What `runc start` does, without a process: the init that `runc create` made waits in an open of `exec.fifo` for
 * somebody who reads it, writes a byte, and closes its end by becoming the container's program. Who read that takes the
 * FIFO away: as long as it is there the container counts as created.
 *
 * The kernel lets init through as soon as somebody opens the other end. Until its byte is there, which takes it some
 * ten microseconds, the end must not be closed: init would fail to write, and end with status 1. So nothing here gives
 * up while init lives, and a kill of the shim in that moment ends the container, as a kill of `runc start` does.
 */
import { lstatSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../base/errors.ts';
import type { Platform } from '../../platform/platform.ts';
import { pipeReader } from '../../wire/pipe.ts';
import type { RuncState } from './runc-state.ts';

/** How often it is asked whether init is still there, while it does not write. */
const checkMs = 100;

export const execFifo = (runcDirectory: string): string => join(runcDirectory, 'exec.fifo');

/**
 * False when runc has to be asked, which also has the words for what is wrong. Does not wait for an init that is gone.
 */
export async function startDirectly(
  { files, processes }: Pick<Platform, 'files' | 'processes'>,
  state: RuncState,
): Promise<boolean> {
  const { pid, startTicks, hasPoststart } = state;
  const fifo = execFifo(state.directory);
  const isAlive = (): boolean => processes.isAlive(pid) && processes.startTicks(pid) === startTicks;
  if (hasPoststart || !isFifo(fifo) || !isAlive()) return false;
  const fd = tryOpen(files, fifo);
  if (fd === undefined) return false;
  const wrote = await readToEnd(fd, () => isAlive() && waitsOn(pid, fifo));
  // Without a byte it was let through before: by a shim that was killed, or by hand.
  if (!wrote && !isAlive()) return false;
  rmSync(fifo, { force: true });
  return true;
}

/** Whether `pid` has not become the container's program yet: init holds the FIFO open until then, first by O_PATH. */
export function waitsOn(pid: number, fifo: string): boolean {
  try {
    const { dev, ino } = lstatSync(fifo);
    return readdirSync(`/proc/${pid}/fd`).some((fd) => isSame(`/proc/${pid}/fd/${fd}`, dev, ino));
  } catch {
    return false;
  }
}

function isSame(path: string, dev: number, ino: number): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && found.dev === dev && found.ino === ino;
}

const isFifo = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isFIFO() === true;

function tryOpen(files: Platform['files'], fifo: string): number | undefined {
  try {
    return files.openFifo(fifo, 'read', { nonBlocking: true });
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}

/**
 * Whether init wrote; resolves when its end is closed, which its exec does, or `stillWaits` says no before it has
 * written. Closes `fd`.
 */
async function readToEnd(fd: number, stillWaits: () => boolean): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const reader = pipeReader(fd);
  let wrote = false;
  const timer = setInterval(() => {
    // What has come meanwhile is read before.
    if (!wrote && !stillWaits()) setImmediate(() => resolve(wrote));
  }, checkMs);
  reader.on('data', () => {
    wrote = true;
  });
  reader.once('end', () => resolve(wrote));
  reader.once('error', () => resolve(wrote));
  try {
    return await promise;
  } finally {
    clearInterval(timer);
    reader.destroy();
  }
}
