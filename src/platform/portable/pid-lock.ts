/**
 * An exclusive lock without flock(2): a file beside the locked one that names its holder's pid.
 *
 * A lock whose holder has ended is taken over by renaming it away, so that of two who try only one gets it. Weaker
 * than the kernel's lock in one point: a pid that was given to another program keeps a dead lock held.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, linkSync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { fromNodeError, isErrno, withNodeErrors } from '../errno.ts';

function create(path: string, content: string): boolean {
  // Written under another name and linked, so that nobody reads a lock before it names its holder.
  const draft = `${path}.${randomUUID()}`;
  const fd = withNodeErrors(() => openSync(draft, 'wx', 0o600));
  try {
    writeSync(fd, content);
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw fromNodeError(error);
  } finally {
    closeSync(fd);
    unlinkSync(draft);
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isErrno(error, 'EPERM');
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw fromNodeError(error);
  }
}

/** Moves a dead holder's lock away; false when it turned out to be somebody's new one. */
function discard(path: string, content: string): boolean {
  const aside = `${path}.${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return true;
    throw fromNodeError(error);
  }
  const isDead = readFileSync(aside, 'utf8') === content;
  if (!isDead) linkSync(aside, path);
  unlinkSync(aside);
  return isDead;
}

export function tryPidLock(path: string): Disposable | undefined {
  const lock = `${path}.pid`;
  closeSync(withNodeErrors(() => openSync(path, 'a', 0o600)));
  const content = `${process.pid} ${randomUUID()}`;
  if (!create(lock, content)) {
    const holder = read(lock);
    if (holder !== undefined) {
      if (isRunning(Number.parseInt(holder, 10))) return undefined;
      if (!discard(lock, holder)) return undefined;
    }
    if (!create(lock, content)) return undefined;
  }
  return {
    [Symbol.dispose]: (): void => {
      if (read(lock) === content) unlinkSync(lock);
    },
  };
}
