/**
 * Images as the CRI knows them: by the digest of their config, with all names that lead there. The image store is asked
 * each time, so names that other clients give, move or delete count at once; nothing is kept that could be wrong.
 *
 * Differs from containerd, which keeps a store of its own beside and follows events.
 */
import type { NamespacedContext } from '../base/context.ts';
import { invalidArgument } from '../base/errors.ts';
import type { ImageName } from '../base/identifiers.ts';
import type { Image, ImageStore } from '../core/images/image-store.ts';
import type { ImageFacts, ImageFactsReader } from './image-facts.ts';
import { isPinned } from './image-labels.ts';
import { isIdOrPart, tryParseImageText, tryParseStoredName } from './image-reference.ts';

export interface CriImage extends ImageFacts {
  /** All of the image store that lead to it, its own id too. */
  readonly names: readonly ImageName[];
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly isPinned: boolean;
}

export interface ImageIndexDependencies {
  readonly images: ImageStore;
  readonly facts: ImageFactsReader;
}

export class ImageIndex {
  readonly #images: ImageStore;
  readonly #facts: ImageFactsReader;

  constructor({ images, facts }: ImageIndexDependencies) {
    this.#images = images;
    this.#facts = facts;
  }

  /** In the order of their first names. What is incomplete or not for this machine is left out. */
  async list(ctx: NamespacedContext): Promise<CriImage[]> {
    const byId = new Map<string, { facts: ImageFacts; images: Image[] }>();
    const stored = await this.#images.list(ctx, []);
    for (const image of stored.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const facts = await this.#facts.read(ctx, image.target);
      if (facts === undefined) continue;
      const group = byId.get(facts.id) ?? { facts, images: [] };
      group.images.push(image);
      byId.set(facts.id, group);
    }
    this.#facts.keepOnly(new Set(stored.map(({ target }) => target.digest)));
    return Array.from(byId.values(), ({ facts, images }) => ({ ...facts, ...namesOf(images) }));
  }

  /** By a name or an id; undefined when there is none. Errors: InvalidArgument (part of several ids). */
  async find(ctx: NamespacedContext, text: string): Promise<CriImage | undefined> {
    if (text === '') return undefined;
    const images = await this.list(ctx);
    const wanted = new Set([text, tryParseImageText(text)?.text]);
    const named = images.find(({ names }) => names.some((name) => wanted.has(name)));
    if (named !== undefined) return named;
    const [found, ...others] = images.filter(({ id }) => isIdOrPart(text, id));
    if (others.length > 0)
      throw invalidArgument(
        `image id ${JSON.stringify(text)} is part of ${others.length + 1} ids: give more of it`,
      );
    return found;
  }
}

function namesOf(
  images: readonly Image[],
): Pick<CriImage, 'names' | 'repoTags' | 'repoDigests' | 'isPinned'> {
  const references = images
    .map(({ name }) => tryParseStoredName(name))
    .filter((reference) => reference !== undefined);
  return {
    names: images.map(({ name }) => name),
    repoTags: references
      .filter(({ tag, digest }) => tag !== undefined && digest === undefined)
      .map(({ text }) => text),
    repoDigests: references.filter(({ digest }) => digest !== undefined).map(({ text }) => text),
    isPinned: images.some(({ labels }) => isPinned(labels)),
  };
}
