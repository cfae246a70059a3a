/**
 * The snapshotter `overlayfs`: a layer is a directory, a stack of them an overlay mount.
 *
 *     <root>/snapshots/<id>/fs     the layer (mode and owner of the top of its parent)
 *                           work   overlayfs' own, of active snapshots
 *
 * Mounts are containerd's to the order of their options, because clients read them: no parent is a bind mount of
 * `fs`, a view on one parent a read-only bind mount of that parent's, the rest an overlay.
 *
 * `remap-ids`: for a user namespace (snapshot-id-map.ts) the mounts carry `uidmap=` and `gidmap=`, and the kernel shows
 * the layers below with shifted owners. What is written lies in `fs` by its host ids, so the top directory gets such an
 * owner too. Not so without a parent: there `fs` itself is id-mapped, and host ids are nobody's in it. containerd
 * shifts its owner nevertheless, and a container of an empty image cannot write to its root.
 * Where the kernel or the file system cannot do this, clients copy the layers (`slow_chown`) or refuse.
 */
import { existsSync, lchownSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import type { Labels } from '../../base/labels.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { SkipPlugin } from '../plugins/plugin.ts';
import {
  DirectorySnapshotter,
  type FillRequest,
  type Layout,
  type SnapshotterDependencies,
  type SnapshotterOptions,
} from './directory-snapshotter.ts';
import { takeAfter } from './snapshot-directories.ts';
import { idMapOf } from './snapshot-id-map.ts';
import type { SnapshotInfo, SnapshotKind } from './snapshotter.ts';

export interface OverlayfsOptions extends SnapshotterOptions {
  /** Snapshots are shown with the label `containerd.io/snapshot/overlay.upperdir`, where their own layer lies. */
  readonly upperdirLabel?: boolean;
  /** Clients may copy layers to shift their owners where mounts cannot. */
  readonly slowChown?: boolean;
  /** Further options of overlay mounts; bind mounts have none of them. */
  readonly mountOptions?: readonly string[];
}

const upperdirLabel = 'containerd.io/snapshot/overlay.upperdir';

const layerOf = (directory: string): string => join(directory, 'fs');

interface LayoutOptions {
  readonly options: readonly string[];
  readonly canRemap: boolean;
  readonly slowChown: boolean;
  readonly showsUpperdir: boolean;
}

class OverlayfsLayout implements Layout {
  readonly name = 'overlayfs';
  readonly capabilities: readonly string[];
  readonly directoryMode = 0o700;
  readonly addedLabels?: (directory: string) => Labels;
  readonly #options: readonly string[];
  readonly #canRemap: boolean;

  constructor({ options, canRemap, slowChown, showsUpperdir }: LayoutOptions) {
    this.#options = options;
    this.#canRemap = canRemap;
    this.capabilities = [
      ...(canRemap ? ['remap-ids'] : []),
      ...(slowChown ? [] : ['only-remap-ids']),
      'rebase',
    ];
    if (showsUpperdir) this.addedLabels = (directory) => ({ [upperdirLabel]: layerOf(directory) });
  }

  async fill(directory: string, { kind, parent, labels }: FillRequest): Promise<void> {
    const idMap = idMapOf(labels);
    const layer = layerOf(directory);
    mkdirSync(layer, { mode: 0o755 });
    takeAfter(layer, parent === undefined ? undefined : layerOf(parent));
    if (idMap !== undefined && !(this.#canRemap && parent === undefined)) {
      const { uid, gid } = this.#canRemap ? idMap.toHost(lstatSync(layer)) : idMap.root;
      withNodeErrors(() => lchownSync(layer, uid, gid));
    }
    if (kind === 'active') mkdirSync(join(directory, 'work'), { mode: 0o711 });
  }

  layerOf(directory: string): string {
    return layerOf(directory);
  }

  parts(kind: SnapshotKind): readonly string[] {
    return kind === 'active' ? ['.', 'fs', 'work'] : ['.', 'fs'];
  }

  mounts(
    { kind, labels }: Pick<SnapshotInfo, 'kind' | 'labels'>,
    directory: string,
    parents: readonly string[],
  ): Mount[] {
    const isView = kind !== 'active';
    const [nearest, ...others] = parents;
    const idMap = this.#canRemap ? idMapOf(labels) : undefined;
    const remap = idMap === undefined ? [] : [`uidmap=${idMap.uidMap}`, `gidmap=${idMap.gidMap}`];
    if (nearest === undefined) return [bind(layerOf(directory), [...remap, isView ? 'ro' : 'rw'])];
    if (isView && others.length === 0) return [bind(layerOf(nearest), [...remap, 'ro'])];
    const upper = [`workdir=${join(directory, 'work')}`, `upperdir=${layerOf(directory)}`];
    const options = [
      ...remap,
      ...(isView ? [] : upper),
      `lowerdir=${parents.map(layerOf).join(':')}`,
      ...this.#options,
    ];
    return [{ type: 'overlay', source: 'overlay', target: '', options }];
  }
}

const bind = (source: string, options: readonly string[]): Mount => ({
  type: 'bind',
  source,
  target: '',
  options: [...options, 'rbind'],
});

export class OverlayfsSnapshotter extends DirectorySnapshotter {
  /**
   * Throws SkipPlugin when overlayfs does not work on the file system of `root`. Errors: InvalidArgument when it does,
   * but not with `mountOptions`.
   */
  constructor({ records, platform, log }: SnapshotterDependencies, options: OverlayfsOptions) {
    const { root, mountOptions = [], upperdirLabel: showsUpperdir = false, slowChown = false } = options;
    checkOverlay(platform, root);
    // Without it, a layer that was an upper directory once cannot be one of another index.
    const isIndexOff =
      existsSync('/sys/module/overlay/parameters/index') &&
      !mountOptions.some((option) => /^index(?:=|$)/.test(option));
    const all = [...mountOptions, ...(isIndexOff ? ['index=off'] : [])];
    if (mountOptions.length > 0) checkMountOptions(platform, root, all);
    const whyNoRemap = probe(platform, root, [...remapProbe, ...all]);
    if (whyNoRemap !== undefined)
      log.debug({ root, reason: whyNoRemap }, 'overlayfs cannot shift ids by mounts');
    super(
      { records, log, files: platform.files },
      new OverlayfsLayout({
        options: all,
        canRemap: whyNoRemap === undefined,
        slowChown,
        showsUpperdir,
      }),
      options,
    );
  }
}

const remapProbe = ['uidmap=0:1:1', 'gidmap=0:1:1'];
const probePrefix = 'check-';

/** Of a start that was killed while it probed: one process has this root, so nobody uses them. */
function removeLeftProbes(platform: Platform, root: string): void {
  for (const name of readdirSync(root).filter((each) => each.startsWith(probePrefix))) {
    platform.mounts.unmountAll(join(root, name), { lazy: true });
    rmSync(join(root, name), { recursive: true, force: true });
  }
}

/** Because file systems differ in what they allow as an upper directory. */
function checkOverlay(platform: Platform, root: string): void {
  if (/[:,\\]/.test(root))
    throw new SkipPlugin(
      `overlayfs cannot name layers below ${root}: the path has a colon, comma or backslash`,
    );
  mkdirSync(root, { recursive: true, mode: 0o700 });
  removeLeftProbes(platform, root);
  const reason = probe(platform, root, []);
  if (reason !== undefined) throw new SkipPlugin(`overlayfs does not work on ${root} (${reason})`);
}

function checkMountOptions(platform: Platform, root: string, options: readonly string[]): void {
  const reason = probe(platform, root, options);
  if (reason !== undefined)
    throw invalidArgument(
      `overlayfs on ${root} does not work with mount_options ${options.join(',')}: ${reason}`,
    );
}

/** Mounts a small overlay below `root`. The reason why that fails, undefined when it does not. */
function probe(platform: Platform, root: string, further: readonly string[]): string | undefined {
  const place = mkdtempSync(join(root, probePrefix));
  try {
    for (const name of ['lower', 'lower2', 'upper', 'work', 'merged']) mkdirSync(join(place, name));
    const options = [
      `lowerdir=${join(place, 'lower')}:${join(place, 'lower2')}`,
      `upperdir=${join(place, 'upper')}`,
      `workdir=${join(place, 'work')}`,
      ...further,
    ];
    platform.mounts.mount({ type: 'overlay', source: 'overlay', target: '', options }, join(place, 'merged'));
    platform.mounts.unmount(join(place, 'merged'));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
