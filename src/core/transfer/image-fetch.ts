/**
 * Bringing an image's tree in: from the target down through indexes and manifests, by platform, children side by side.
 * Each document is labelled with its children before they are fetched (containerd's order), and an image config that
 * somebody wants unpacked goes to the unpacker, which then decides which layers are needed.
 */
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import { deferred } from '../../base/deferred.ts';
import type { Digest } from '../../base/digest.ts';
import { invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageConfig } from '../../oci/image-config.ts';
import type { ImageIndex, ImageManifest } from '../../oci/manifest.ts';
import { childLabels, isImageConfig } from '../../oci/media-types.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { LayerFeed } from '../diff/layer-feed.ts';
import type { FeedTaker } from './content-fetcher.ts';
import {
  checkDocumentSize,
  childrenOf,
  hasChildren,
  readImageConfig,
  readManifestOrIndex,
} from './image-content.ts';
import { chosenEntries, type PlatformChoice, type UnpackChoice, wantsLayers } from './platform-choice.ts';
import type { ProgressReport } from './progress-report.ts';
import { TaskGroup } from './task-group.ts';
import type { Unpacker } from './unpacker.ts';

/** Where content comes from: a registry, or an archive that was read before. */
export interface ContentSource {
  /** `follow` is given the bytes as they come, where they do. */
  fetch(ctx: NamespacedContext, descriptor: Descriptor, follow?: FeedTaker): Promise<void>;
}

interface Fetching {
  readonly done: Promise<void>;
  /** Undefined at the latest when it is done. */
  readonly feed: Promise<LayerFeed | undefined>;
}

export interface ImageFetchDependencies {
  readonly content: ContentStore;
  readonly source: ContentSource;
  readonly unpacker: Unpacker;
  readonly report: ProgressReport;
}

export interface ImageFetchOptions {
  readonly platforms: PlatformChoice;
  readonly unpacks: readonly UnpackChoice[];
  /** Leaves out the labels that keep layers alive, so that they go once they are unpacked. */
  readonly discardLayers?: boolean;
}

export class ImageFetch {
  readonly #deps: ImageFetchDependencies;
  readonly #options: ImageFetchOptions;
  readonly #ctx: NamespacedContext;
  readonly #group: TaskGroup;
  /** Each piece is fetched once in this transfer, however often it is mentioned. */
  readonly #fetches = new Map<Digest, Fetching>();
  /** Indexes that name each other many times over must not multiply. */
  readonly #seen = new Set<string>();
  #unpacked = 0;

  constructor(ctx: NamespacedContext, dependencies: ImageFetchDependencies, options: ImageFetchOptions) {
    this.#deps = dependencies;
    this.#options = options;
    this.#group = new TaskGroup(ctx.signal);
    this.#ctx = withSignal(ctx, this.#group.signal);
  }

  /** Good for one use. When it rejects, nothing of it is running any more. Returns how many unpacks were done. */
  async run(target: Descriptor): Promise<number> {
    void this.#group.run(() => this.#bring(target, 0)).catch(() => {});
    await this.#group.done();
    return this.#unpacked;
  }

  async #bring(descriptor: Descriptor, depth: number): Promise<void> {
    if (depth > limits.indexDepth)
      throw invalidArgument(
        `more than ${limits.indexDepth} indexes within each other, at ${descriptor.digest}`,
      );
    if (!hasChildren(descriptor)) return this.#fetch(descriptor);
    checkDocumentSize(descriptor);
    if (!this.#isNew(descriptor)) return;
    await this.#fetch(descriptor);
    const document = await readManifestOrIndex(this.#deps.content, this.#ctx, descriptor);
    await this.#labelChildren(descriptor, document);
    this.#deps.report.setChildren(descriptor, childrenOf(document));
    if (document.kind === 'manifest') return this.#bringManifest(descriptor, document);
    const entries = chosenEntries(document, this.#options.platforms, descriptor.digest);
    await this.#all(entries.map((entry) => () => this.#bring(entry, depth + 1)));
  }

  /** Errors: InvalidArgument for more documents than an image may have. */
  #isNew(descriptor: Descriptor): boolean {
    const key = `${descriptor.digest} ${wantsLayers(descriptor, this.#options.platforms)}`;
    if (this.#seen.has(key)) return false;
    if (this.#seen.size >= limits.imageDocuments)
      throw invalidArgument(`the image has more than the ${limits.imageDocuments} manifests allowed`);
    this.#seen.add(key);
    return true;
  }

  async #bringManifest(descriptor: Descriptor, manifest: ImageManifest): Promise<void> {
    const { config } = manifest;
    if (isImageConfig(config.mediaType)) checkDocumentSize(config);
    const needsLayers = wantsLayers(descriptor, this.#options.platforms);
    if (!isImageConfig(config.mediaType) || this.#options.unpacks.length === 0 || !needsLayers) {
      const pieces = needsLayers ? [config, ...manifest.layers] : [config];
      return this.#all(pieces.map((piece) => () => this.#fetch(piece)));
    }
    await this.#fetch(config);
    const parsed = await readImageConfig(this.#deps.content, this.#ctx, config);
    const unpacks = this.#options.unpacks.filter(({ matcher }) =>
      matcher.matches(platformOf(descriptor, parsed)),
    );
    if (unpacks.length === 0) return this.#all(manifest.layers.map((layer) => () => this.#fetch(layer)));
    await this.#all(unpacks.map((unpack) => () => this.#unpack(unpack, manifest, parsed)));
  }

  async #unpack({ snapshotter }: UnpackChoice, manifest: ImageManifest, config: ImageConfig): Promise<void> {
    const layers = {
      ready: (layer: Descriptor) => this.#fetching(layer).done,
      feed: (layer: Descriptor) => this.#fetching(layer).feed,
    };
    await this.#deps.unpacker.unpack(this.#ctx, { snapshotter, manifest, config, layers });
    this.#unpacked += 1;
  }

  #fetch(descriptor: Descriptor): Promise<void> {
    return this.#fetching(descriptor).done;
  }

  #fetching(descriptor: Descriptor): Fetching {
    const known = this.#fetches.get(descriptor.digest);
    if (known !== undefined) return known;
    const feed = deferred<LayerFeed | undefined>();
    const { source } = this.#deps;
    const done = this.#group.run(() => source.fetch(this.#ctx, descriptor, feed.resolve));
    const none = (): void => feed.resolve(undefined);
    done.then(none, none);
    const fetching = { done, feed: feed.promise };
    this.#fetches.set(descriptor.digest, fetching);
    return fetching;
  }

  async #all(tasks: readonly (() => Promise<void>)[]): Promise<void> {
    await Promise.all(tasks.map((task) => this.#group.run(task)));
  }

  async #labelChildren(descriptor: Descriptor, document: ImageManifest | ImageIndex): Promise<void> {
    const all = childrenOf(document);
    const kept =
      this.#options.discardLayers === true && document.kind === 'manifest' ? [document.config] : all;
    const labels = childLabels(kept);
    const paths = Object.keys(labels).map((label) => `labels.${label}`);
    if (paths.length === 0) return;
    await this.#deps.content.update(this.#ctx, { digest: descriptor.digest, labels }, paths);
  }
}

/** The index's word goes before the config's, which some builders get wrong. */
const platformOf = (descriptor: Descriptor, config: ImageConfig): ImageConfig['platform'] =>
  descriptor.platform ?? config.platform;
