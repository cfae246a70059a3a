/**
 * The snapshotter `overlayfs`: a layer is a directory, a stack of them an overlay mount.
 *
 *     <root>/snapshots/<id>/fs     the layer (mode and owner of the top of its parent)
 *                           work   overlayfs' own, of active snapshots
 *
 * Mounts are containerd's to the order of their options, because clients read them: no parent is a bind mount of
 * `fs`, a view on one parent a read-only bind mount of that parent's, the rest an overlay.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { SkipPlugin } from '../plugins/plugin.ts';
import {
  DirectorySnapshotter,
  type Layout,
  type SnapshotterDependencies,
  type SnapshotterOptions,
} from './directory-snapshotter.ts';
import { takeAfter } from './snapshot-directories.ts';
import type { SnapshotKind } from './snapshotter.ts';

const layerOf = (directory: string): string => join(directory, 'fs');

class OverlayfsLayout implements Layout {
  readonly name = 'overlayfs';
  readonly capabilities = ['rebase'];
  readonly directoryMode = 0o700;
  readonly #options: readonly string[];

  constructor(options: readonly string[]) {
    this.#options = options;
  }

  async fill(directory: string, kind: SnapshotKind, parent: string | undefined): Promise<void> {
    const layer = layerOf(directory);
    mkdirSync(layer, { mode: 0o755 });
    takeAfter(layer, parent === undefined ? undefined : layerOf(parent));
    if (kind === 'active') mkdirSync(join(directory, 'work'), { mode: 0o711 });
  }

  layerOf(directory: string): string {
    return layerOf(directory);
  }

  parts(kind: SnapshotKind): readonly string[] {
    return kind === 'active' ? ['.', 'fs', 'work'] : ['.', 'fs'];
  }

  mounts(kind: SnapshotKind, directory: string, parents: readonly string[]): Mount[] {
    const isView = kind !== 'active';
    const [nearest, ...others] = parents;
    if (nearest === undefined) return [bind(layerOf(directory), isView ? 'ro' : 'rw')];
    if (isView && others.length === 0) return [bind(layerOf(nearest), 'ro')];
    const upper = [`workdir=${join(directory, 'work')}`, `upperdir=${layerOf(directory)}`];
    const options = [
      ...(isView ? [] : upper),
      `lowerdir=${parents.map(layerOf).join(':')}`,
      ...this.#options,
    ];
    return [{ type: 'overlay', source: 'overlay', target: '', options }];
  }
}

const bind = (source: string, access: 'ro' | 'rw'): Mount => ({
  type: 'bind',
  source,
  target: '',
  options: [access, 'rbind'],
});

export class OverlayfsSnapshotter extends DirectorySnapshotter {
  /** Throws SkipPlugin when overlayfs does not work on the file system of `root`. */
  constructor({ records, platform, log }: SnapshotterDependencies, options: SnapshotterOptions) {
    checkOverlay(platform, options.root);
    // Without it, a layer that was an upper directory once cannot be one of another index.
    const hasIndex = existsSync('/sys/module/overlay/parameters/index');
    super(
      { records, log, files: platform.files },
      new OverlayfsLayout(hasIndex ? ['index=off'] : []),
      options,
    );
  }
}

const probePrefix = 'check-';

/** Of a start that was killed while it probed: one process has this root, so nobody uses them. */
function removeLeftProbes(platform: Platform, root: string): void {
  for (const name of readdirSync(root).filter((each) => each.startsWith(probePrefix))) {
    platform.mounts.unmountAll(join(root, name), { lazy: true });
    rmSync(join(root, name), { recursive: true, force: true });
  }
}

/** Mounts a small overlay below `root`, because file systems differ in what they allow as an upper directory. */
function checkOverlay(platform: Platform, root: string): void {
  if (/[:,\\]/.test(root))
    throw new SkipPlugin(
      `overlayfs cannot name layers below ${root}: the path has a colon, comma or backslash`,
    );
  mkdirSync(root, { recursive: true, mode: 0o700 });
  removeLeftProbes(platform, root);
  const place = mkdtempSync(join(root, probePrefix));
  try {
    for (const name of ['lower', 'lower2', 'upper', 'work', 'merged']) mkdirSync(join(place, name));
    const options = [
      `lowerdir=${join(place, 'lower')}:${join(place, 'lower2')}`,
      `upperdir=${join(place, 'upper')}`,
      `workdir=${join(place, 'work')}`,
    ];
    platform.mounts.mount({ type: 'overlay', source: 'overlay', target: '', options }, join(place, 'merged'));
    platform.mounts.unmount(join(place, 'merged'));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SkipPlugin(`overlayfs does not work on ${root} (${reason})`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
