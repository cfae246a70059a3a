/**
 * What the documents of an image say, read from the content store once: content never changes, so what was read stays
 * true. Of an index counts the manifest that suits this machine best and is here.
 */
import type { NamespacedContext } from '../base/context.ts';
import type { Digest } from '../base/digest.ts';
import { hasCode } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ContentStore } from '../core/content/content-store.ts';
import { hasChildren, readImageConfig, readManifestOrIndex } from '../core/transfer/image-content.ts';
import { chainIds } from '../oci/chain-id.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { ImageIndex, ImageManifest } from '../oci/manifest.ts';
import { isImageConfig } from '../oci/media-types.ts';
import { compatibleMatcher, hostPlatform } from '../oci/platform.ts';

export interface ImageFacts {
  /** Digest of the config: the image's id. */
  readonly id: Digest;
  readonly config: Descriptor;
  /** Of documents and layers, as they came. */
  readonly sizeBytes: number;
  /** `user`, `uid`, `user:group`, …; "" when the image names none. */
  readonly user: string;
  /** Of the snapshot with the whole file system; undefined without layers. */
  readonly chainId: Digest | undefined;
}

export class ImageFactsReader {
  readonly #content: ContentStore;
  readonly #known = new Map<Digest, ImageFacts>();
  readonly #matcher = compatibleMatcher(hostPlatform());

  constructor({ content }: { readonly content: ContentStore }) {
    this.#content = content;
  }

  /** Undefined when it is no image, none for this machine, or not all of its documents are here or can be read. */
  async read(ctx: NamespacedContext, target: Descriptor): Promise<ImageFacts | undefined> {
    const known = this.#known.get(target.digest);
    if (known !== undefined) return known;
    const facts = await this.#read(ctx, target, 0);
    if (facts !== undefined) this.#known.set(target.digest, facts);
    return facts;
  }

  /** Forgets what is not of these targets. */
  keepOnly(targets: ReadonlySet<Digest>): void {
    for (const digest of this.#known.keys()) if (!targets.has(digest)) this.#known.delete(digest);
  }

  async #read(ctx: NamespacedContext, target: Descriptor, depth: number): Promise<ImageFacts | undefined> {
    if (!hasChildren(target) || depth > limits.indexDepth) return undefined;
    try {
      const document = await readManifestOrIndex(this.#content, ctx, target);
      if (document.kind === 'manifest') return await this.#ofManifest(ctx, target, document);
      for (const entry of this.#suitable(document)) {
        const facts = await this.#read(ctx, entry, depth + 1);
        if (facts !== undefined) return { ...facts, sizeBytes: facts.sizeBytes + target.sizeBytes };
      }
      return undefined;
    } catch (error) {
      if (hasCode(error, 'NotFound') || hasCode(error, 'InvalidArgument')) return undefined;
      throw error;
    }
  }

  #suitable({ manifests }: ImageIndex): readonly Descriptor[] {
    return manifests
      .filter(({ platform }) => platform === undefined || this.#matcher.matches(platform))
      .toSorted((a, b) =>
        a.platform === undefined || b.platform === undefined
          ? 0
          : this.#matcher.compare(a.platform, b.platform),
      );
  }

  async #ofManifest(
    ctx: NamespacedContext,
    target: Descriptor,
    { config, layers }: ImageManifest,
  ): Promise<ImageFacts | undefined> {
    if (!isImageConfig(config.mediaType)) return undefined;
    const parsed = await readImageConfig(this.#content, ctx, config);
    return {
      id: config.digest,
      config,
      sizeBytes: [target, config, ...layers].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      user: parsed.config.user,
      chainId: chainIds(parsed.diffIds).at(-1),
    };
  }
}
