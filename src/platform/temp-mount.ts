/**
 * Lists of mounts put in place and taken away again, on whatever platform there is.
 *
 * A mount's own `target` is a path below the place, which an image may have filled with symlinks: it is followed only
 * as long as it stays inside. Nothing is ever removed recursively here, because what is left mounted would be
 * emptied.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmdirSync } from 'node:fs';
import { join, sep } from 'node:path';
import { invalidArgument, permissionDenied } from '../base/errors.ts';
import { withNodeErrors } from './errno.ts';
import type { Mount } from './mount.ts';
import type { Platform } from './platform.ts';

type Mounter = Pick<Platform, 'name' | 'mounts'>;

/** The existing directory or file that `relative` names below `place`. Errors: NotFound, PermissionDenied. */
export function resolveBelow(place: string, relative: string): string {
  const root = withNodeErrors(() => realpathSync(place));
  if (relative.includes('\0')) throw invalidArgument('mount target has a NUL byte');
  const resolved = withNodeErrors(() => realpathSync(join(root, relative)));
  if (resolved === root || resolved.startsWith(root === sep ? sep : root + sep)) return resolved;
  throw permissionDenied(`mount target ${JSON.stringify(relative)} leads out of ${place}`);
}

/** Mounts the list in order; on failure what was mounted is taken away again. */
export function mountAll(platform: Mounter, mounts: readonly Mount[], target: string): void {
  try {
    for (const mount of mounts) {
      const place = mount.target === '' ? target : resolveBelow(target, mount.target);
      platform.mounts.mount(mount, place);
    }
  } catch (error) {
    platform.mounts.unmountAll(target, { lazy: true });
    throw error;
  }
}

/** Takes away everything on `target` and below it; not an error when there is nothing. */
export function unmountAll(platform: Mounter, target: string, options?: { lazy?: boolean }): void {
  platform.mounts.unmountAll(target, options);
}

/** What a single plain bind mount shows, for platforms that cannot mount; undefined for other lists. */
function directSource(mounts: readonly Mount[]): string | undefined {
  const [first, ...rest] = mounts;
  if (first === undefined || rest.length > 0 || first.target !== '') return undefined;
  const isBind = first.options.includes('bind') || first.options.includes('rbind') || first.type === 'bind';
  return isBind ? first.source : undefined;
}

/**
 * Runs `use` with the list mounted on a fresh directory below `tempRoot` (made when absent), and takes it away
 * whatever happens. A platform that cannot mount hands out the source of a single bind mount itself, where a
 * read-only mount is only a promise of `use`.
 */
export async function withTempMount<Result>(
  platform: Mounter,
  mounts: readonly Mount[],
  tempRoot: string,
  use: (root: string) => Promise<Result>,
): Promise<Result> {
  if (platform.name === 'portable') {
    const source = directSource(mounts);
    if (source !== undefined) return use(source);
  }
  const folder = withNodeErrors(() => {
    mkdirSync(tempRoot, { recursive: true, mode: 0o700 });
    return mkdtempSync(join(tempRoot, 'mount-'));
  });
  try {
    mountAll(platform, mounts, folder);
    return await use(folder);
  } finally {
    release(platform, folder);
  }
}

function release(platform: Mounter, folder: string): void {
  if (platform.name === 'linux') {
    try {
      platform.mounts.unmountAll(folder);
    } catch {
      // Somebody still has a file open there: it goes when they close it, and nobody new finds it.
      platform.mounts.unmountAll(folder, { lazy: true });
    }
  }
  withNodeErrors(() => rmdirSync(folder));
}
