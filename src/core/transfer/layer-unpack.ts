/**
 * One layer on its way into a snapshot: what each road of the unpacker (one after the other, side by side) does with
 * a layer, and how layers are named.
 */
import { randomBytes } from 'node:crypto';
import { forCleanup, type NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { failedPrecondition, hasCode, invalidArgument, unimplemented, wrap } from '../../base/errors.ts';
import { parseSnapshotKey, type SnapshotKey } from '../../base/identifiers.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import { chainIds } from '../../oci/chain-id.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageConfig } from '../../oci/image-config.ts';
import type { ImageManifest } from '../../oci/manifest.ts';
import type { Mount } from '../../platform/mount.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { ApplyOptions, Differ } from '../diff/differ.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { ProgressReport } from './progress-report.ts';

/** One layer is unpacked once at a time, whichever transfer does it. */
export class UnpackLocks extends KeyedLock {}

export interface LayerUnpackDependencies {
  readonly content: ContentStore;
  /** In the order of asking; the next is asked when one answers Unimplemented. */
  readonly differs: readonly Differ[];
  readonly report: ProgressReport;
  /** Shared by all transfers of the daemon. */
  readonly snapshotLocks: UnpackLocks;
}

export interface Layer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly chainId: Digest;
  readonly parent: SnapshotKey | undefined;
}

export interface PreparedLayer {
  readonly key: SnapshotKey;
  readonly mounts: readonly Mount[];
  /** A snapshotter of another program has filled it, and only wants it to be committed. */
  readonly isStaged: boolean;
}

/** Errors: InvalidArgument when manifest and config do not fit. */
export function layersOf(manifest: ImageManifest, config: ImageConfig): Layer[] {
  const { layers } = manifest;
  const { diffIds } = config;
  if (layers.length !== diffIds.length)
    throw invalidArgument(
      `the manifest has ${layers.length} layers and its config ${manifest.config.digest} has ${diffIds.length} diffIDs`,
    );
  const chain = chainIds(diffIds);
  return layers.map((descriptor, index) => ({
    descriptor,
    diffId: diffIds[index] as Digest,
    chainId: chain[index] as Digest,
    parent: index === 0 ? undefined : parseSnapshotKey(chain[index - 1] as Digest),
  }));
}

export class LayerUnpack {
  readonly #deps: LayerUnpackDependencies;
  readonly #snapshotter: Snapshotter;

  constructor(dependencies: LayerUnpackDependencies, { snapshotter }: { snapshotter: Snapshotter }) {
    this.#deps = dependencies;
    this.#snapshotter = snapshotter;
  }

  /** Waits while another transfer unpacks the same layer. */
  lock(ctx: NamespacedContext, { chainId }: Layer): Promise<Disposable> {
    const key = `sn://${ctx.namespace}/${this.#snapshotter.name}/${chainId}`;
    return this.#deps.snapshotLocks.acquire(key, { signal: ctx.signal });
  }

  /** The layer's snapshot is there. */
  async exists(ctx: NamespacedContext, { chainId }: Layer): Promise<boolean> {
    try {
      const { kind } = await this.#snapshotter.stat(ctx, parseSnapshotKey(chainId));
      return kind === 'committed';
    } catch (error) {
      if (hasCode(error, 'NotFound')) return false;
      throw error;
    }
  }

  /**
   * A snapshot to apply the layer to, on its parent or, to be rebased, on none. Undefined when the layer's own is
   * there after all: made by somebody else, or by a remote snapshotter itself.
   */
  async prepare(
    ctx: NamespacedContext,
    layer: Layer,
    { isRebased = false }: { isRebased?: boolean } = {},
  ): Promise<PreparedLayer | undefined> {
    const labels = snapshotLabels(layer);
    const parent = isRebased ? undefined : layer.parent;
    for (let attempt = 1; ; attempt += 1) {
      if (await this.exists(ctx, layer)) return undefined;
      const key = extractKey(layer.chainId);
      try {
        const options = { labels, ...(parent !== undefined && { parent }) };
        const mounts = await this.#snapshotter.prepare(ctx, key, options);
        return { key, mounts, isStaged: this.#snapshotter.isRemote === true && isReadOnly(mounts) };
      } catch (error) {
        if (!hasCode(error, 'AlreadyExists') || attempt >= 3)
          throw wrap(`failed to prepare extraction snapshot ${JSON.stringify(key)}`, error);
      }
    }
  }

  /** Whether the layer can be applied while its blob comes: not what stream processors take from the store. */
  canFollow({ descriptor }: Layer): boolean {
    return this.#deps.differs[0]?.needsStoredBlob?.(descriptor) !== true;
  }

  /** Errors: FailedPrecondition (wrong diffID), Unimplemented (no differ can), those of the differ. */
  async apply(
    ctx: NamespacedContext,
    { descriptor, diffId }: Layer,
    mounts: readonly Mount[],
    options: ApplyOptions = {},
  ): Promise<void> {
    const { report, differs } = this.#deps;
    report.extracting(descriptor, 0);
    const all = {
      ...options,
      // Our own snapshotters wait for the disk at the commit.
      syncFileSystem: options.syncFileSystem === true || this.#snapshotter.isRemote === true,
      onProgress: (bytes: number): void => report.extracting(descriptor, bytes),
    };
    let applied: Descriptor | undefined;
    for (const differ of differs)
      try {
        applied = await differ.apply(ctx, descriptor, mounts, all);
        break;
      } catch (error) {
        if (!hasCode(error, 'Unimplemented'))
          throw wrap(`failed to extract layer ${descriptor.digest}`, error);
      }
    if (applied === undefined)
      throw unimplemented(`no differ can extract layer ${descriptor.digest} of type ${descriptor.mediaType}`);
    if (applied.digest !== diffId)
      throw failedPrecondition(
        `wrong diff id calculated on extraction of layer ${descriptor.digest}: the image config says ${diffId}, the layer is ${applied.digest}`,
      );
  }

  /** Under its own name, on its parent; then the blob is labelled with what it is unpacked. */
  async commit(
    ctx: NamespacedContext,
    layer: Layer,
    key: SnapshotKey,
    {
      isRebased = false,
      isSynced = false,
      isStaged = false,
    }: { isRebased?: boolean; isSynced?: boolean; isStaged?: boolean } = {},
  ): Promise<void> {
    const labels = snapshotLabels(layer);
    const parent = isRebased ? layer.parent : undefined;
    try {
      const options = { labels, isSynced, ...(parent !== undefined && { parent }) };
      await this.#snapshotter.commit(ctx, parseSnapshotKey(layer.chainId), key, options);
    } catch (error) {
      // A client that unpacks by itself was faster: its snapshot is as good.
      if (!hasCode(error, 'AlreadyExists')) throw wrap(`failed to commit snapshot ${key}`, error);
      await this.removeQuietly(ctx, key);
    }
    // Its blob was not fetched.
    if (isStaged) return;
    const label = 'containerd.io/uncompressed';
    const { digest } = layer.descriptor;
    await this.#deps.content.update(ctx, { digest, labels: { [label]: layer.diffId } }, [`labels.${label}`]);
  }

  async removeQuietly(ctx: NamespacedContext, key: SnapshotKey): Promise<void> {
    try {
      await this.#snapshotter.remove(forCleanup(ctx, limits.cleanupMs), key);
    } catch (error) {
      if (!hasCode(error, 'NotFound'))
        ctx.log.warn({ key, error: String(error) }, 'extraction snapshot is left to the collector');
    }
  }
}

/** containerd's form: clients and tools know unpacks in progress by it. */
const extractKey = (chainId: Digest): SnapshotKey =>
  parseSnapshotKey(
    `extract-${process.hrtime.bigint() % 1_000_000_000n}-${randomBytes(3).toString('base64url')} ${chainId}`,
  );

/** The target for snapshotters that can bring a layer by themselves, and what the layer's descriptor tells them. */
function snapshotLabels({ chainId, descriptor }: Layer): Record<string, string> {
  const inherited = Object.entries(descriptor.annotations ?? {}).filter(([name]) =>
    name.startsWith('containerd.io/snapshot/'),
  );
  return { ...Object.fromEntries(inherited), 'containerd.io/snapshot.ref': chainId };
}

/** As a remote snapshotter answers a prepare when there is nothing left to write. */
const isReadOnly = (mounts: readonly Mount[]): boolean =>
  mounts.length === 1 && mounts[0]?.options.includes('ro') === true;
