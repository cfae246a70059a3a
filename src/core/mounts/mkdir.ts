/**
 * `mkdir/`: directories that are there before the mount, one for each option
 * `X-containerd.mkdir.path=DIRECTORY[:MODE[:UID:GID]]` (octal; 0700 when absent). Only below the allowed roots.
 *
 * containerd cannot change the owner (its 2.4 answers Unimplemented); here it can.
 */
import { chmodSync, closeSync, constants, fchownSync, fstatSync, mkdirSync, openSync } from 'node:fs';
import { failedPrecondition, invalidArgument, unimplemented } from '../../base/errors.ts';
import { isErrno, withNodeErrors } from '../../platform/errno.ts';
import { openConfined } from './confined.ts';
import { type Transform, takeOptions } from './transform.ts';

const prefix = 'X-containerd.mkdir.';
const form = /^path=(?<path>\/[^:]*)(?::(?<mode>[0-7]{1,4})(?::(?<uid>\d{1,10}):(?<gid>\d{1,10}))?)?$/;
const maxId = 2 ** 32 - 2;

interface Wanted {
  readonly path: string;
  readonly mode: number;
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

export const makeDirectories =
  (roots: readonly string[]): Transform =>
  (mount) => {
    const { taken, left } = takeOptions(mount.options, prefix);
    // All are read before the first is made.
    for (const wanted of taken.map(parse)) make(roots, wanted);
    return { ...mount, options: left };
  };

/** Errors: InvalidArgument. */
function parse(option: string): Wanted {
  const { path, mode, uid, gid } = form.exec(option)?.groups ?? {};
  if (path === undefined)
    throw invalidArgument(
      `invalid mkdir option ${JSON.stringify(prefix + option)}: write it as ${prefix}path=/directory:0755:0:0`,
    );
  const bits = mode === undefined ? 0o700 : Number.parseInt(mode, 8);
  if (bits > 0o777) throw invalidArgument(`invalid mode ${mode} in ${JSON.stringify(option)}`);
  const owner = uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
  if (owner !== undefined && (owner.uid > maxId || owner.gid > maxId))
    throw invalidArgument(`invalid owner in ${JSON.stringify(option)}`);
  return { path, mode: bits, owner };
}

/** Errors: FailedPrecondition when something else is there, Unimplemented when it has another mode, as containerd. */
function make(roots: readonly string[], { path, mode, owner }: Wanted): void {
  using entry = openConfined(roots, path, 'mkdir');
  const isNew = makeUnlessThere(entry.path);
  const fd = openIt(entry.path, path);
  try {
    if (isNew) {
      // By the descriptor, so that what was put in its place meanwhile is not touched.
      withNodeErrors(() => chmodSync(`/proc/self/fd/${fd}`, mode));
      if (owner !== undefined) withNodeErrors(() => fchownSync(fd, owner.uid, owner.gid));
      return;
    }
    const status = fstatSync(fd);
    if ((status.mode & 0o777) !== mode)
      throw unimplemented(
        `${path} exists with another mode than ${mode.toString(8)}: chmod not supported by mkdir`,
      );
  } finally {
    closeSync(fd);
  }
}

function makeUnlessThere(path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    return withNodeErrors(() => {
      throw error;
    });
  }
}

function openIt(path: string, shown: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    // A symlink too: O_DIRECTORY comes before O_NOFOLLOW.
    if (isErrno(error, 'ENOTDIR')) throw failedPrecondition(`${shown} exists and is not a directory`, error);
    return withNodeErrors(() => {
      throw error;
    });
  }
}
