/**
 * From layers to snapshots: the story of unpacking one image for one snapshotter.
 *
 * Parents first, each layer once whoever wants it, layer N applied while those above are still on their way. A layer's
 * snapshot is committed only when its diffID holds; one that fails leaves no snapshot behind. Layers below the highest
 * snapshot that exists are neither fetched nor applied, as in containerd.
 *
 * Where a layer comes from is the caller's: `LayerSource.ready` resolves when its blob can be applied. A source that
 * feeds the applier from the socket takes the place of both calls, and nothing else changes.
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
import type { Differ } from '../diff/differ.ts';
import type { LeaseManager } from '../leases/lease-manager.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { ProgressReport } from './progress-report.ts';

export interface LayerSource {
  /** Starts bringing the layer in, if that has not begun; resolves when its blob is in the content store. */
  ready(layer: Descriptor): Promise<void>;
}

export interface UnpackerDependencies {
  readonly content: ContentStore;
  readonly leases: LeaseManager;
  /** In the order of asking; the next is asked when one answers Unimplemented. */
  readonly differs: readonly Differ[];
  readonly report: ProgressReport;
  /** Shared by all transfers of the daemon. */
  readonly snapshotLocks: UnpackLocks;
}

/** One layer is unpacked once at a time, whichever transfer does it. */
export class UnpackLocks extends KeyedLock {}

export interface UnpackRequest {
  readonly snapshotter: Snapshotter;
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
  readonly layers: LayerSource;
}

interface Layer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly chainId: Digest;
  readonly parent: SnapshotKey | undefined;
}

export class Unpacker {
  readonly #deps: UnpackerDependencies;

  constructor(dependencies: UnpackerDependencies) {
    this.#deps = dependencies;
  }

  /**
   * Returns the chainID of the whole; undefined for an image without layers. Errors: InvalidArgument (layers and
   * diffIDs do not fit), FailedPrecondition (wrong diffID), Unimplemented (layer of an unknown kind), those of the
   * source and the snapshotter.
   */
  async unpack(ctx: NamespacedContext, request: UnpackRequest): Promise<Digest | undefined> {
    const { snapshotter, manifest, layers: source } = request;
    const layers = layersOf(request.manifest, request.config);
    const top = layers.at(-1);
    if (top === undefined) return undefined;
    const missing = layers.slice(await this.#countExisting(ctx, snapshotter, layers));
    for (const { descriptor } of missing) source.ready(descriptor).catch(() => {});
    for (const layer of missing) {
      await source.ready(layer.descriptor);
      await this.#unpackLayer(ctx, snapshotter, layer);
    }
    const label = `containerd.io/gc.ref.snapshot.${snapshotter.name}`;
    const config = { digest: manifest.config.digest, labels: { [label]: top.chainId } };
    await this.#deps.content.update(ctx, config, [`labels.${label}`]);
    return top.chainId;
  }

  /** How many layers, from the bottom, have their snapshot; the highest of them joins the lease. */
  async #countExisting(
    ctx: NamespacedContext,
    snapshotter: Snapshotter,
    layers: readonly Layer[],
  ): Promise<number> {
    for (let count = layers.length; count > 0; count -= 1) {
      const { chainId } = layers[count - 1] as Layer;
      if (!(await exists(ctx, snapshotter, chainId))) continue;
      if (ctx.lease === undefined) return count;
      const resource = { type: `snapshots/${snapshotter.name}`, id: chainId };
      await this.#deps.leases.addResource(ctx, ctx.lease, resource);
      // Collected in between? Now that it is in the lease, what is there stays.
      if (await exists(ctx, snapshotter, chainId)) return count;
    }
    return 0;
  }

  async #unpackLayer(ctx: NamespacedContext, snapshotter: Snapshotter, layer: Layer): Promise<void> {
    const { report, snapshotLocks } = this.#deps;
    const lock = `sn://${ctx.namespace}/${snapshotter.name}/${layer.chainId}`;
    using _ = await snapshotLocks.acquire(lock, { signal: ctx.signal });
    const prepared = await this.#prepare(ctx, snapshotter, layer);
    if (prepared !== undefined) {
      await using undo = new AsyncDisposableStack();
      undo.defer(() => removeQuietly(ctx, snapshotter, prepared.key));
      await this.#apply(ctx, layer, prepared.mounts);
      await this.#commit(ctx, snapshotter, layer, prepared.key);
      undo.move();
      const label = 'containerd.io/uncompressed';
      const { digest } = layer.descriptor;
      await this.#deps.content.update(ctx, { digest, labels: { [label]: layer.diffId } }, [
        `labels.${label}`,
      ]);
    }
    report.extracted(layer.descriptor);
  }

  /** Undefined when the snapshot is there after all: made by somebody else, or by a remote snapshotter itself. */
  async #prepare(
    ctx: NamespacedContext,
    snapshotter: Snapshotter,
    layer: Layer,
  ): Promise<{ key: SnapshotKey; mounts: Mount[] } | undefined> {
    for (let attempt = 1; ; attempt += 1) {
      if (await exists(ctx, snapshotter, layer.chainId)) return undefined;
      const key = extractKey(layer.chainId);
      try {
        return { key, mounts: await snapshotter.prepare(ctx, key, snapshotOptions(layer)) };
      } catch (error) {
        if (!hasCode(error, 'AlreadyExists') || attempt >= 3)
          throw wrap(`failed to prepare extraction snapshot ${JSON.stringify(key)}`, error);
      }
    }
  }

  async #apply(ctx: NamespacedContext, layer: Layer, mounts: readonly Mount[]): Promise<void> {
    const { descriptor, diffId } = layer;
    const { report, differs } = this.#deps;
    report.extracting(descriptor, 0);
    const options = { onProgress: (bytes: number): void => report.extracting(descriptor, bytes) };
    let applied: Descriptor | undefined;
    for (const differ of differs)
      try {
        applied = await differ.apply(ctx, descriptor, mounts, options);
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

  async #commit(
    ctx: NamespacedContext,
    snapshotter: Snapshotter,
    layer: Layer,
    key: SnapshotKey,
  ): Promise<void> {
    try {
      const { labels } = snapshotOptions(layer);
      await snapshotter.commit(ctx, parseSnapshotKey(layer.chainId), key, { labels });
    } catch (error) {
      // A client that unpacks by itself was faster: its snapshot is as good.
      if (!hasCode(error, 'AlreadyExists')) throw wrap(`failed to commit snapshot ${key}`, error);
      await removeQuietly(ctx, snapshotter, key);
    }
  }
}

function layersOf(manifest: ImageManifest, config: ImageConfig): Layer[] {
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

/** containerd's form: clients and tools know unpacks in progress by it. */
const extractKey = (chainId: Digest): SnapshotKey =>
  parseSnapshotKey(
    `extract-${process.hrtime.bigint() % 1_000_000_000n}-${randomBytes(3).toString('base64url')} ${chainId}`,
  );

/** The target for snapshotters that can bring a layer by themselves, and what the layer's descriptor tells them. */
function snapshotOptions({ chainId, parent, descriptor }: Layer): {
  labels: Record<string, string>;
  parent?: SnapshotKey;
} {
  const inherited = Object.entries(descriptor.annotations ?? {}).filter(([name]) =>
    name.startsWith('containerd.io/snapshot/'),
  );
  return {
    labels: { ...Object.fromEntries(inherited), 'containerd.io/snapshot.ref': chainId },
    ...(parent !== undefined && { parent }),
  };
}

async function exists(ctx: NamespacedContext, snapshotter: Snapshotter, chainId: Digest): Promise<boolean> {
  try {
    const { kind } = await snapshotter.stat(ctx, parseSnapshotKey(chainId));
    return kind === 'committed';
  } catch (error) {
    if (hasCode(error, 'NotFound')) return false;
    throw error;
  }
}

async function removeQuietly(
  ctx: NamespacedContext,
  snapshotter: Snapshotter,
  key: SnapshotKey,
): Promise<void> {
  try {
    await snapshotter.remove(forCleanup(ctx, limits.cleanupMs), key);
  } catch (error) {
    if (!hasCode(error, 'NotFound'))
      ctx.log.warn({ key, error: String(error) }, 'extraction snapshot is left to the collector');
  }
}
