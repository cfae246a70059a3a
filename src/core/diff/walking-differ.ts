/**
 * The differ `walking`: layers of the content store onto mounts, and the difference of two mounted trees into the
 * content store.
 *
 * What is read from the store is checked against its digest while it is unpacked: a blob that rotted on disk must
 * not become a snapshot. That goes for what stream processors are given too.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { failedPrecondition, internal, wrap } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { withTempMount } from '../../platform/temp-mount.ts';
import type { ContentReader, ContentStore } from '../content/content-store.ts';
import { writeLayerBlob } from './compare.ts';
import type { ApplyOptions, CompareOptions, Differ } from './differ.ts';
import { LayerApplier, type LayerSource, verifying } from './layer-applier.ts';
import { wholeFeed } from './layer-feed.ts';
import { type Compression, isLayerMediaType, layerCompression, ociLayer } from './layer-media-type.ts';
import { processed } from './processor-chain.ts';
import { type Processing, processingOf, type StreamProcessor } from './stream-processor.ts';

export interface WalkingDifferOptions {
  /** Directory for temporary mounts; made when absent. */
  readonly tempRoot: string;
  /** In the order of the configuration. */
  readonly streamProcessors?: readonly StreamProcessor[];
}

export class WalkingDiffer implements Differ, AsyncDisposable {
  readonly #content: ContentStore;
  readonly #platform: Platform;
  readonly #log: Logger;
  readonly #tempRoot: string;
  readonly #streamProcessors: readonly StreamProcessor[];
  readonly #applier: LayerApplier;

  constructor(
    { content, platform, log }: { content: ContentStore; platform: Platform; log: Logger },
    { tempRoot, streamProcessors = [] }: WalkingDifferOptions,
  ) {
    this.#content = content;
    this.#platform = platform;
    this.#log = log;
    this.#tempRoot = tempRoot;
    this.#streamProcessors = streamProcessors;
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

  needsStoredBlob({ mediaType }: Descriptor): boolean {
    return processingOf(this.#streamProcessors, mediaType).steps.length > 0;
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
    const processing = processingOf(this.#streamProcessors, layer.mediaType);
    const compression = compressionAfter(processing);
    const { feed } = options;
    if (feed !== undefined && processing.steps.length > 0)
      throw internal(`layer ${layer.digest} goes through stream processors, which need it whole`);
    await using reader = feed === undefined ? await this.#content.open(ctx, layer.digest) : undefined;
    const source = {
      ...(reader === undefined
        ? { feed: feed!, digest: layer.digest }
        : this.#sourceOf(layer, reader, processing, options)),
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

  #sourceOf(
    { digest }: Descriptor,
    reader: ContentReader,
    { steps }: Processing,
    { payloads }: ApplyOptions,
  ): LayerSource {
    if (steps.length === 0) return { ...this.#bytesOf(reader), digest };
    const { files, processes } = this.#platform;
    const dependencies = { files, processes, log: this.#log };
    // What comes out has no digest that we know: what goes in is checked.
    return {
      open: (signal) =>
        processed(dependencies, verifying(reader.stream({ signal }), digest), { steps, payloads, signal }),
    };
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

/** Errors: Unimplemented for what is no layer, FailedPrecondition when a stream processor makes what is none. */
function compressionAfter({ steps, mediaType }: Processing): Compression | undefined {
  const last = steps.at(-1)?.processor;
  if (last === undefined || isLayerMediaType(mediaType)) return layerCompression(mediaType);
  throw failedPrecondition(
    `stream processor ${last.id} returns ${JSON.stringify(mediaType)}, which is no layer that can be read, and no other processor accepts it`,
  );
}

/** Comparing writes nothing, and a bind mount of a live snapshot must not be an invitation to. */
function readOnly(mount: Mount): Mount {
  const isBind = mount.options.some((option) => option === 'bind' || option === 'rbind');
  if (!isBind || mount.options.includes('ro')) return mount;
  return { ...mount, options: [...mount.options.filter((option) => option !== 'rw'), 'ro'] };
}
