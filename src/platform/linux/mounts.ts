/**
 * Mounting on Linux: mount(2) for what fits, the new mount API for long overlays and id-mapped mounts.
 *
 * Either the whole request is done or nothing is left mounted. Targets are not resolved here: whoever takes one from
 * a container resolves it first (temp-mount.ts).
 */
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { unimplemented } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { fromErrno, isErrno, withNodeErrors } from '../errno.ts';
import type { Mount } from '../mount.ts';
import type { LoopOperations, MountInfo, MountOperations } from '../platform.ts';
import { IdMapping } from './idmap.ts';
import * as libc from './libc.ts';
import * as words from './mount-options.ts';
import { parseMountInfo } from './mountinfo.ts';
import { mountDataBytes, mountLongOverlay, splitLowerDirs } from './overlay-mount.ts';

const retryMs = 10;

export class LinuxMounts implements MountOperations {
  readonly #loops: LoopOperations;

  constructor({ loops }: { loops: LoopOperations }) {
    this.#loops = loops;
  }

  /** `loop` among the options: the source is a file, on a loop device that goes with the mount, as by mount(8). */
  mount(mount: Mount, target: string): void {
    const parsed = words.parseMountOptions(mount.options);
    if (!parsed.data.includes('loop')) {
      this.#mount(mount, parsed, target);
      return;
    }
    using device = this.#loops.attach(mount.source, { readOnly: words.isReadOnly(parsed.flags) });
    const data = parsed.data.filter((option) => option !== 'loop');
    this.#mount({ ...mount, source: device.path }, { ...parsed, data }, target);
  }

  #mount(mount: Mount, parsed: words.ParsedMountOptions, target: string): void {
    this.#attach(mount, parsed, target);
    try {
      this.#adjust(parsed, target);
    } catch (error) {
      if (!words.isRemount(parsed.flags)) this.unmount(target, { lazy: true });
      throw error;
    }
  }

  #attach(mount: Mount, parsed: words.ParsedMountOptions, target: string): void {
    const { flags, uidMap, gidMap } = parsed;
    const overlay = mount.type === 'overlay' && !words.isRemount(flags);
    if (uidMap !== undefined && gidMap !== undefined) {
      using mapping = new IdMapping(uidMap, gidMap);
      if (words.isBind(flags)) mapping.bind(mount.source, target, { recursive: words.isRecursive(flags) });
      else if (overlay) mountIdMappedOverlay(mapping, mount, parsed, target);
      else throw unimplemented(`mount ${target}: uidmap and gidmap are for bind and overlay mounts only`);
      return;
    }
    if (overlay) {
      attachOverlay(mount.source, target, flags, parsed.data);
      return;
    }
    const type = words.isBind(flags) ? 'none' : mount.type;
    const data = parsed.data.length === 0 ? null : parsed.data.join(',');
    libc.check(`mount ${mount.type}`, target, libc.mount(mount.source, target, type, flags, data));
  }

  /** What one call of mount(2) cannot do together with the mount. */
  #adjust(parsed: words.ParsedMountOptions, target: string): void {
    const perMount = words.perMountPart(parsed.flags);
    if (words.isBind(parsed.flags) && perMount !== 0)
      libc.check(
        'remount',
        target,
        libc.mount('none', target, 'none', words.remountBindFlags | perMount, null),
      );
    for (const change of parsed.propagation)
      libc.check('change propagation of', target, libc.mount('none', target, 'none', change, null));
  }

  unmount(target: string, options: { lazy?: boolean } = {}): void {
    const flags = libc.UMOUNT_NOFOLLOW | (options.lazy === true ? libc.MNT_DETACH : 0);
    const deadline = performance.now() + limits.unmountRetryMs;
    while (libc.umount2(target, flags) !== 0) {
      const error = fromErrno('unmount', target, libc.errno());
      if (isErrno(error, 'EINVAL', 'ENOENT')) return;
      // Whoever holds it is often on the way out; the thread pauses because the callers are synchronous.
      if (!isErrno(error, 'EBUSY') || performance.now() > deadline) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, retryMs);
    }
  }

  unmountAll(target: string, options: { lazy?: boolean } = {}): void {
    const place = canonical(target);
    if (place === undefined) return;
    const below = place === '/' ? '/' : `${place}/`;
    const mounted = this.list().filter(
      ({ mountPoint }) => mountPoint === place || mountPoint.startsWith(below),
    );
    // The kernel lists a mount after those that it is stacked on or lies in.
    for (const { mountPoint } of mounted.reverse()) this.unmount(mountPoint, options);
  }

  list(): MountInfo[] {
    return parseMountInfo(withNodeErrors(() => readFileSync('/proc/self/mountinfo', 'utf8')));
  }
}

/** The path as mountinfo has it; the last part is not followed. Undefined when it is not there. */
function canonical(target: string): string | undefined {
  try {
    return join(realpathSync(dirname(target)), basename(target));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    return withNodeErrors(() => {
      throw error;
    });
  }
}

function attachOverlay(source: string, target: string, flags: number, data: readonly string[]): void {
  const text = data.join(',');
  if (Buffer.byteLength(text) > mountDataBytes) mountLongOverlay({ source, target, flags, data });
  else libc.check('mount overlay', target, libc.mount(source, target, 'overlay', flags, text));
}

/**
 * The layers are what gets id-mapped, not the overlay, which the kernel refuses. Overlay keeps private copies of the
 * layers' mounts, so ours go away at once.
 */
function mountIdMappedOverlay(
  mapping: IdMapping,
  mount: Mount,
  parsed: words.ParsedMountOptions,
  target: string,
): void {
  using cleanup = new DisposableStack();
  const folder = withNodeErrors(() => mkdtempSync(join(tmpdir(), 'gantry-idmap-')));
  cleanup.defer(() => rmdirSync(folder));
  let count = 0;
  const mapped = (lower: string): string => {
    const place = join(folder, String(count));
    count += 1;
    withNodeErrors(() => mkdirSync(place, 0o700));
    cleanup.defer(() => rmdirSync(place));
    mapping.bind(lower, place, { recursive: false });
    cleanup.defer(() => libc.umount2(place, libc.UMOUNT_NOFOLLOW | libc.MNT_DETACH));
    return place;
  };
  const data = parsed.data.map((option) =>
    option.startsWith('lowerdir=')
      ? `lowerdir=${splitLowerDirs(option.slice('lowerdir='.length)).map(mapped).join(':')}`
      : option,
  );
  attachOverlay(mount.source, target, parsed.flags, data);
}
