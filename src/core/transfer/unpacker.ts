/**
 * From layers to snapshots: the story of unpacking one image for one snapshotter.
 *
 * Side by side where the snapshotter can give a snapshot its parent afterwards (side-by-side.ts), else parents first,
 * one layer after the other, each applied while those above are still on their way. Each layer once, whoever wants it.
 * A layer's snapshot is committed only when its diffID holds; one that fails leaves no snapshot behind. Layers below
 * the highest snapshot that exists are neither fetched nor applied, as in containerd, nor are those that a snapshotter of
 * another program says it has when it is asked for a place to put them.
 */
import type { NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import type { ImageConfig } from '../../oci/image-config.ts';
import type { ImageManifest } from '../../oci/manifest.ts';
import type { LeaseManager } from '../leases/lease-manager.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { LayerSource } from './layer-source.ts';
import { type Layer, LayerUnpack, type LayerUnpackDependencies, layersOf } from './layer-unpack.ts';
import { canRebase, SideBySide } from './side-by-side.ts';

export interface UnpackerDependencies extends LayerUnpackDependencies {
  readonly leases: LeaseManager;
}

export interface UnpackRequest {
  readonly snapshotter: Snapshotter;
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
  readonly layers: LayerSource;
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
    const unpack = new LayerUnpack(this.#deps, { snapshotter });
    const missing = layers.slice(await this.#countExisting(ctx, unpack, snapshotter, layers));
    const fetchFrom = (index: number): void => {
      for (const { descriptor } of missing.slice(index)) source.ready(descriptor).catch(() => {});
    };
    // Another program may have a layer without its blob: what it has is not fetched.
    const asksFirst = snapshotter.isRemote === true;
    if (!asksFirst) fetchFrom(0);
    if (canRebase(snapshotter) && this.#deps.differs.every(({ appliesEarly }) => appliesEarly === true)) {
      const { report } = this.#deps;
      await using sideBySide = new SideBySide(ctx, { unpack, snapshotter, source, report });
      await sideBySide.run(missing);
    } else
      for (const [index, layer] of missing.entries()) {
        const bring = (): Promise<void> => {
          fetchFrom(index);
          return source.ready(layer.descriptor);
        };
        if (!asksFirst) await bring();
        await this.#unpackOne(ctx, unpack, layer, bring);
      }
    const label = `containerd.io/gc.ref.snapshot.${snapshotter.name}`;
    const config = { digest: manifest.config.digest, labels: { [label]: top.chainId } };
    await this.#deps.content.update(ctx, config, [`labels.${label}`]);
    return top.chainId;
  }

  /** How many layers, from the bottom, have their snapshot; the highest of them joins the lease. */
  async #countExisting(
    ctx: NamespacedContext,
    unpack: LayerUnpack,
    snapshotter: Snapshotter,
    layers: readonly Layer[],
  ): Promise<number> {
    for (let count = layers.length; count > 0; count -= 1) {
      const layer = layers[count - 1] as Layer;
      if (!(await unpack.exists(ctx, layer))) continue;
      if (ctx.lease === undefined) return count;
      const resource = { type: `snapshots/${snapshotter.name}`, id: layer.chainId };
      await this.#deps.leases.addResource(ctx, ctx.lease, resource);
      // Collected in between? Now that it is in the lease, what is there stays.
      if (await unpack.exists(ctx, layer)) return count;
    }
    return 0;
  }

  async #unpackOne(
    ctx: NamespacedContext,
    unpack: LayerUnpack,
    layer: Layer,
    bring: () => Promise<void>,
  ): Promise<void> {
    using _ = await unpack.lock(ctx, layer);
    const prepared = await unpack.prepare(ctx, layer);
    if (prepared !== undefined) {
      await using undo = new AsyncDisposableStack();
      undo.defer(() => unpack.removeQuietly(ctx, prepared.key));
      const { isStaged } = prepared;
      if (!isStaged) {
        await bring();
        await unpack.apply(ctx, layer, prepared.mounts);
      }
      await unpack.commit(ctx, layer, prepared.key, { isStaged });
      undo.move();
    }
    this.#deps.report.extracted(layer.descriptor);
  }
}
