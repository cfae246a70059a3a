/**
 * Files and directories that clients name, reached only below allowed roots.
 *
 * Each step from the root down is opened without following a symlink and the next is looked up in what was opened
 * (`/proc/self/fd`), so nobody who writes below a root, a container for one, can lead a path out of it, not even in
 * the middle of the walk.
 */
import { closeSync, constants, openSync, realpathSync } from 'node:fs';
import { basename, isAbsolute, normalize, relative, sep } from 'node:path';
import { invalidArgument, permissionDenied, unimplemented } from '../../base/errors.ts';
import { isErrno, withNodeErrors } from '../../platform/errno.ts';

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** An entry of an open directory: `path` is good for as long as it is not disposed. */
export interface ConfinedEntry extends Disposable {
  readonly path: string;
  readonly name: string;
}

/**
 * The place that `path` names, whose directory must exist; itself it may not. Errors: InvalidArgument (form),
 * Unimplemented when no root holds it, as containerd says it, PermissionDenied when a symlink is in the way, NotFound.
 */
export function openConfined(roots: readonly string[], path: string, what: string): ConfinedEntry {
  if (path.includes('\0')) throw invalidArgument(`${what} path has a NUL byte`);
  if (!isAbsolute(path) || normalize(path) !== path || path.endsWith(sep))
    throw invalidArgument(`${what} path ${JSON.stringify(path)} must be absolute, without . and .. in it`);
  const root = roots.find((each) => path.startsWith(`${each}${sep}`));
  if (root === undefined) throw unimplemented(`no root ${JSON.stringify(path)} configured for ${what}`);
  const steps = relative(root, path).split(sep);
  let fd = withNodeErrors(() => openSync(realpathSync(root), directoryFlags));
  try {
    for (const step of steps.slice(0, -1)) {
      const next = openStep(fd, step, path);
      closeSync(fd);
      fd = next;
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  const held = fd;
  const name = basename(path);
  return { path: `/proc/self/fd/${held}/${name}`, name, [Symbol.dispose]: () => closeSync(held) };
}

function openStep(fd: number, step: string, path: string): number {
  try {
    return openSync(`/proc/self/fd/${fd}/${step}`, directoryFlags);
  } catch (error) {
    if (isErrno(error, 'ELOOP', 'ENOTDIR'))
      throw permissionDenied(`${path}: ${JSON.stringify(step)} is a symlink or no directory`, error);
    return withNodeErrors(() => {
      throw error;
    });
  }
}
