/**
 * Images that other clients bring into the namespace of the CRI: their names get its label, and the image a name by its
 * id, as containerd does. For those clients only: the index needs neither.
 *
 *   start: subscribe, then look at all that is there     then: each name that is made or changed
 */
import { pause } from '../base/backoff.ts';
import { type Context, type NamespacedContext, withSignal } from '../base/context.ts';
import { hasCode } from '../base/errors.ts';
import { type ImageName, parseImageName } from '../base/identifiers.ts';
import type { KeyedLock } from '../base/keyed-lock.ts';
import { limits } from '../base/limits.ts';
import type { Envelope, EventExchange } from '../core/events/event-exchange.ts';
import type { ImageStore } from '../core/images/image-store.ts';
import { decodeEvent, eventField } from '../wire/known-events.ts';
import { inCri } from './cri-context.ts';
import type { ImageFactsReader } from './image-facts.ts';
import { isManaged } from './image-labels.ts';
import { nameImage } from './image-names.ts';

/** Of names being given or taken: an id must not be named while the image is being removed. */
export const namingLock = 'image names';

export interface ImageAdoptionDependencies {
  readonly images: ImageStore;
  readonly facts: ImageFactsReader;
  readonly events: EventExchange;
  readonly locks: KeyedLock;
}

export interface ImageAdoptionOptions {
  readonly isPinned: (name: string) => boolean;
}

export class ImageAdoption implements AsyncDisposable {
  readonly #deps: ImageAdoptionDependencies;
  readonly #options: ImageAdoptionOptions;
  readonly #stop = new AbortController();
  readonly #ctx: NamespacedContext;
  readonly #running: Promise<void>;

  /** Begins at once; dispose it to end. */
  constructor(ctx: Context, dependencies: ImageAdoptionDependencies, options: ImageAdoptionOptions) {
    this.#deps = dependencies;
    this.#options = options;
    this.#ctx = inCri(withSignal(ctx, this.#stop.signal));
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#ctx.signal.aborted)
      try {
        await this.#follow();
      } catch (error) {
        if (this.#ctx.signal.aborted) return;
        // Too far behind, perhaps: what was missed is found by looking at all again.
        this.#ctx.log.warn({ error: String(error) }, 'CRI begins again to follow images of other clients');
        await pause(limits.criFollowPauseMs, this.#ctx.signal).catch(() => {});
      }
  }

  async #follow(): Promise<void> {
    const filters = ['create', 'update'].map(
      (change) => `namespace==${this.#ctx.namespace},topic=="/images/${change}"`,
    );
    const events = this.#deps.events.subscribe(this.#ctx, filters);
    for (const { name } of await this.#deps.images.list(this.#ctx, [])) await this.#adopt(name);
    for await (const envelope of events) {
      const name = nameIn(envelope);
      if (name !== undefined) await this.#adopt(name);
    }
  }

  /** One that cannot be adopted does not keep others from it. */
  async #adopt(name: ImageName): Promise<void> {
    const { images, facts, locks } = this.#deps;
    const ctx = this.#ctx;
    try {
      using _ = await locks.acquire(namingLock, { signal: ctx.signal });
      const { target, labels } = await images.get(ctx, name);
      const found = await facts.read(ctx, target);
      if (found === undefined) return;
      const pinned = this.#options.isPinned(name);
      if (!(await this.#isThere(parseImageName(found.id))))
        await nameImage(images, ctx, { name: found.id, target, pinned });
      if (!isManaged(labels)) await nameImage(images, ctx, { name, target, pinned });
    } catch (error) {
      if (ctx.signal.aborted || hasCode(error, 'NotFound')) return;
      ctx.log.warn({ image: name, error: String(error) }, 'image of another client stays without CRI labels');
    }
  }

  async #isThere(name: ImageName): Promise<boolean> {
    try {
      await this.#deps.images.get(this.#ctx, name);
      return true;
    } catch (error) {
      if (hasCode(error, 'NotFound')) return false;
      throw error;
    }
  }
}

function nameIn({ event }: Envelope): ImageName | undefined {
  const decoded = decodeEvent(event);
  const name = decoded === undefined ? undefined : eventField(decoded, ['name']);
  return name === undefined || name === '' ? undefined : parseImageName(name);
}
