/** What is known by an id that callers may shorten while it is unique, and by a name that only one may have. */
import { randomBytes } from 'node:crypto';
import { invalidArgument, taken } from '../../base/errors.ts';

export const newId = (): string => randomBytes(32).toString('hex');

export class IdIndex<Item extends { readonly id: string }> {
  readonly #items = new Map<string, Item>();

  /** Undefined when there is none. Errors: InvalidArgument for part of several ids. */
  find(text: string): Item | undefined {
    const exact = this.#items.get(text);
    if (exact !== undefined || text === '') return exact;
    const [found, ...others] = [...this.#items.values()].filter(({ id }) => id.startsWith(text));
    if (others.length > 0)
      throw invalidArgument(
        `id ${JSON.stringify(text)} is part of ${others.length + 1} ids: give more of it`,
      );
    return found;
  }

  list(): Item[] {
    return [...this.#items.values()];
  }

  add(item: Item): void {
    this.#items.set(item.id, item);
  }

  delete(id: string): void {
    this.#items.delete(id);
  }
}

/** Names that are given or being given. */
export class ReservedNames {
  readonly #kind: 'sandbox' | 'container';
  readonly #holders = new Map<string, string>();

  constructor(kind: 'sandbox' | 'container') {
    this.#kind = kind;
  }

  /** In containerd's words, which people search for. Errors: AlreadyExists. */
  reserve(name: string, id: string): void {
    const holder = this.#holders.get(name);
    if (holder !== undefined && holder !== id)
      throw taken(
        `failed to reserve ${this.#kind} name ${JSON.stringify(name)}: name ${JSON.stringify(name)} is reserved for ${JSON.stringify(holder)}`,
      );
    this.#holders.set(name, id);
  }

  release(id: string): void {
    for (const [name, holder] of this.#holders) if (holder === id) this.#holders.delete(name);
  }
}
