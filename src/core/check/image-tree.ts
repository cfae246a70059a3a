/**
 * Which images need which blob and which snapshot, and where an image's own tree has a hole.
 *
 * A pull of one platform leaves the other entries of an index out on purpose, and layers may be discarded once they are
 * unpacked. So a hole is: an absent target; an index none of whose entries is there; an absent config or document of a
 * manifest that is there; an absent layer of an image for this machine whose snapshot is absent too. Blobs that have a
 * record count as there: whether their bytes are, is told beside.
 */
import { checkSignal, type NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { chainIds } from '../../oci/chain-id.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageConfig } from '../../oci/image-config.ts';
import type { ImageIndex, ImageManifest } from '../../oci/manifest.ts';
import { isImageConfig } from '../../oci/media-types.ts';
import { compatibleMatcher, hostPlatform } from '../../oci/platform.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { Image } from '../images/image-store.ts';
import { childrenOf, hasChildren, readImageConfig, readManifestOrIndex } from '../transfer/image-content.ts';

export interface Hole {
  readonly descriptor: Descriptor;
  /** What it is in the image: "its target", "a layer of …". */
  readonly role: string;
}

export interface ImageTree {
  readonly image: Image;
  readonly blobs: ReadonlyMap<Digest, Descriptor>;
  readonly chainIds: ReadonlySet<string>;
  readonly holes: readonly Hole[];
}

export interface ImageTreeDependencies {
  readonly content: ContentStore;
  /** A committed snapshot of that name, of any snapshotter, in the namespace of the call. */
  readonly hasSnapshot: (ctx: NamespacedContext, chainId: Digest) => boolean;
}

export async function readImageTree(
  deps: ImageTreeDependencies,
  ctx: NamespacedContext,
  image: Image,
): Promise<ImageTree> {
  const walk = new TreeWalk(deps, ctx);
  await walk.visit(image.target, 'its target', 0);
  return { image, blobs: walk.blobs, chainIds: walk.chainIds, holes: walk.holes };
}

class TreeWalk {
  readonly blobs = new Map<Digest, Descriptor>();
  readonly chainIds = new Set<string>();
  readonly holes: Hole[] = [];
  readonly #deps: ImageTreeDependencies;
  readonly #ctx: NamespacedContext;
  readonly #isForHost = compatibleMatcher(hostPlatform());

  constructor(deps: ImageTreeDependencies, ctx: NamespacedContext) {
    this.#deps = deps;
    this.#ctx = ctx;
  }

  async visit(descriptor: Descriptor, role: string, depth: number): Promise<void> {
    checkSignal(this.#ctx.signal);
    if (this.blobs.has(descriptor.digest) || this.blobs.size >= limits.imageDocuments) return;
    this.blobs.set(descriptor.digest, descriptor);
    if (!(await this.#isRecorded(descriptor))) {
      this.holes.push({ descriptor, role });
      return;
    }
    if (!hasChildren(descriptor) || depth > limits.indexDepth) return;
    const document = await readable(readManifestOrIndex(this.#deps.content, this.#ctx, descriptor));
    if (document === undefined) return;
    if (document.kind === 'index') await this.#visitIndex(descriptor, document, depth);
    else await this.#visitManifest(descriptor, document);
  }

  async #visitIndex(descriptor: Descriptor, index: ImageIndex, depth: number): Promise<void> {
    const present: Descriptor[] = [];
    for (const entry of childrenOf(index)) if (await this.#isRecorded(entry)) present.push(entry);
    const [first] = index.manifests;
    if (present.length === 0 && first !== undefined)
      this.holes.push({
        descriptor: first,
        role: `an image of the index ${descriptor.digest}, of which none is here`,
      });
    for (const entry of present) await this.visit(entry, `an entry of ${descriptor.digest}`, depth + 1);
  }

  async #visitManifest(descriptor: Descriptor, manifest: ImageManifest): Promise<void> {
    const { config, layers } = manifest;
    await this.visit(config, `the config of manifest ${descriptor.digest}`, 0);
    for (const layer of layers) this.blobs.set(layer.digest, layer);
    if (!isImageConfig(config.mediaType)) return;
    const parsed = await readable(readImageConfig(this.#deps.content, this.#ctx, config));
    if (parsed === undefined) return;
    for (const chainId of chainIds(parsed.diffIds)) this.chainIds.add(chainId);
    await this.#checkLayers(descriptor, layers, parsed);
  }

  async #checkLayers(
    descriptor: Descriptor,
    layers: readonly Descriptor[],
    config: ImageConfig,
  ): Promise<void> {
    if (!this.#isForHost.matches(descriptor.platform ?? config.platform)) return;
    const chain = chainIds(config.diffIds);
    for (const [index, layer] of layers.entries()) {
      if (await this.#isRecorded(layer)) continue;
      const chainId = chain[index];
      if (chainId !== undefined && this.#deps.hasSnapshot(this.#ctx, chainId)) continue;
      this.holes.push({ descriptor: layer, role: `layer ${index + 1} of manifest ${descriptor.digest}` });
    }
  }

  async #isRecorded({ digest }: Descriptor): Promise<boolean> {
    return (await readable(this.#deps.content.info(this.#ctx, digest))) !== undefined;
  }
}

/** Undefined for what is absent or damaged: the check of content tells about it. */
async function readable<Value>(reading: Promise<Value>): Promise<Value | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (hasCode(error, 'NotFound') || hasCode(error, 'InvalidArgument')) return undefined;
    throw error;
  }
}
