/**
 * Lists of mounts put in place and taken away again, on whatever platform there is.
 *
 * A mount's own `target` is a path below the place, which an image may have filled with symlinks: it is followed only
 * as long as it stays inside. Nothing is ever removed recursively here, because what is left mounted would be
 * emptied.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmdirSync } from 'node:fs';
import { join, sep } from 'node:path';
import { hasCode, invalidArgument, permissionDenied } from '../base/errors.ts';
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

const isBind = ({ options }: Mount): boolean => options.includes('bind') || options.includes('rbind');

/**
 * Where mounts are shared, a bind mount is the peer of its source: what is mounted in it, and unmounted, would be so
 * in the source as well. It still takes what is mounted in the source, and a word of its own list may say otherwise.
 */
const sendingNothingBack = (mount: Mount): Mount =>
  isBind(mount) ? { ...mount, options: ['rslave', ...mount.options] } : mount;

/**
 * Mounts the list in order; on failure what it mounted itself is taken away again, and what was there before stays.
 * Errors: NotFound and PermissionDenied of a target, and what mount(2) says.
 */
export function mountAll(platform: Mounter, mounts: readonly Mount[], target: string): void {
  const mounted: string[] = [];
  try {
    for (const mount of mounts) {
      const place = mount.target === '' ? target : resolveBelow(target, mount.target);
      platform.mounts.mount(sendingNothingBack(mount), place);
      mounted.push(place);
    }
  } catch (error) {
    for (const place of mounted.reverse()) platform.mounts.unmount(place, { lazy: true });
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
  return isBind(first) || first.type === 'bind' ? first.source : undefined;
}

const prefix = 'mount-';

/**
 * Takes away what a process that was killed left of `withTempMount` below `tempRoot`, which nobody else uses, and
 * returns the paths. A folder that is not empty although nothing is mounted on it is left: it is none of ours.
 */
export function releaseLeftMounts(platform: Mounter, tempRoot: string): string[] {
  const names = withNodeErrors(() => {
    mkdirSync(tempRoot, { recursive: true, mode: 0o700 });
    return readdirSync(tempRoot);
  });
  const folders = names.filter((name) => name.startsWith(prefix)).map((name) => join(tempRoot, name));
  return folders.filter((folder) => {
    try {
      release(platform, folder, join(folder, 'root'));
      return true;
    } catch (error) {
      if (hasCode(error, 'FailedPrecondition')) return false;
      throw error;
    }
  });
}

/**
 * Runs `use` with the list mounted on a fresh directory below `tempRoot` (made when absent), and takes it away
 * whatever happens. Nobody else sees the mounts, and nothing mounted or unmounted there reaches their sources. A
 * platform that cannot mount hands out the source of a single bind mount itself, where a read-only mount is only a
 * promise of `use`.
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
    return mkdtempSync(join(tempRoot, prefix));
  });
  const root = join(folder, 'root');
  try {
    withNodeErrors(() => mkdirSync(root, { mode: 0o700 }));
    // Where `/` is shared, as systemd makes it, a mount appears with all its peers; not so on a private one.
    if (mounts.length > 0) platform.mounts.mount(privateBind(folder), folder);
    mountAll(platform, mounts.map(isolated), root);
    return await use(root);
  } finally {
    release(platform, folder, root);
  }
}

const privateBind = (source: string): Mount => ({
  type: 'bind',
  source,
  target: '',
  options: ['bind', 'private'],
});

const isolated = (mount: Mount): Mount => ({ ...mount, options: [...mount.options, 'rprivate'] });

function release(platform: Mounter, folder: string, root: string): void {
  if (platform.name === 'linux') {
    try {
      platform.mounts.unmountAll(folder);
    } catch {
      // Somebody still has a file open there: it goes when they close it, and nobody new finds it.
      platform.mounts.unmountAll(folder, { lazy: true });
    }
  }
  withNodeErrors(() => {
    if (existsSync(root)) rmdirSync(root);
    rmdirSync(folder);
  });
}
