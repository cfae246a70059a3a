/**
 * The differ `walking`: layers of the content store onto mounts, and the difference of two mounted trees into the
 * content store.
 *
 * What is read from the store is checked against its digest while it is unpacked: a blob that rotted on disk must
 * not become a snapshot.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { wrap } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { withTempMount } from '../../platform/temp-mount.ts';
import type { ContentReader, ContentStore } from '../content/content-store.ts';
import { writeLayerBlob } from './compare.ts';
import type { ApplyOptions, CompareOptions, Differ } from './differ.ts';
import { LayerApplier, type LayerSource } from './layer-applier.ts';
import { wholeFeed } from './layer-feed.ts';
import { layerCompression, ociLayer } from './layer-media-type.ts';

export interface WalkingDifferOptions {
  /** Directory for temporary mounts; made when absent. */
  readonly tempRoot: string;
}

export class WalkingDiffer implements Differ, AsyncDisposable {
  readonly #content: ContentStore;
  readonly #platform: Platform;
  readonly #tempRoot: string;
  readonly #applier: LayerApplier;

  constructor(
    { content, platform, log }: { content: ContentStore; platform: Platform; log: Logger },
    { tempRoot }: WalkingDifferOptions,
  ) {
    this.#content = content;
    this.#platform = platform;
    this.#tempRoot = tempRoot;
    this.#applier = new LayerApplier({ platform, log }, { tempRoot });
    const byStreams = 'node streams';
    const engines = {
      gzip: platform.inflate.engine('gzip') ?? byStreams,
      zstd: platform.inflate.engine('zstd') ?? byStreams,
    };
    log.info(engines, 'how layers are inflated');
  }

  get appliesEarly(): boolean {
    return this.#applier.takesFiles;
  }

  /** Ends the spare worker. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#applier[Symbol.asyncDispose]();
  }

  async apply(
    ctx: NamespacedContext,
    layer: Descriptor,
    mounts: readonly Mount[],
    options: ApplyOptions,
  ): Promise<Descriptor> {
    const compression = layerCompression(layer.mediaType);
    const { feed } = options;
    await using reader = feed === undefined ? await this.#content.open(ctx, layer.digest) : undefined;
    const source = {
      ...(feed === undefined ? this.#bytesOf(reader!) : { feed }),
      digest: layer.digest,
      ...(compression && { compression }),
    };
    try {
      const { diffId, sizeBytes } = await this.#applier.apply(source, mounts, {
        ...options,
        signal: ctx.signal,
      });
      return { mediaType: ociLayer, digest: diffId, sizeBytes };
    } catch (error) {
      throw wrap(`apply layer ${layer.digest}`, error);
    }
  }

  #bytesOf(reader: ContentReader): LayerSource {
    const { fd, sizeBytes } = reader;
    if (fd !== undefined && this.#applier.takesFiles) return { feed: wholeFeed({ fd, sizeBytes }) };
    return { open: (signal) => reader.stream({ signal }) };
  }

  async compare(
    ctx: NamespacedContext,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options: CompareOptions,
  ): Promise<Descriptor> {
    const mounted = <Result>(
      mounts: readonly Mount[],
      use: (root: string | undefined) => Promise<Result>,
    ): Promise<Result> =>
      mounts.length === 0
        ? use(undefined)
        : withTempMount(this.#platform, mounts.map(readOnly), this.#tempRoot, use);
    return mounted(lower, (lowerRoot) =>
      mounted(upper, (upperRoot) =>
        writeLayerBlob(
          { content: this.#content, files: this.#platform.files },
          ctx,
          { lower: lowerRoot, upper: upperRoot },
          options,
        ),
      ),
    );
  }
}

/** Comparing writes nothing, and a bind mount of a live snapshot must not be an invitation to. */
function readOnly(mount: Mount): Mount {
  const isBind = mount.options.some((option) => option === 'bind' || option === 'rbind');
  if (!isBind || mount.options.includes('ro')) return mount;
  return { ...mount, options: [...mount.options.filter((option) => option !== 'rw'), 'ro'] };
}
