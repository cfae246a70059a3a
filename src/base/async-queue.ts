/**
 * A queue between a producer that does not wait and one consumer that iterates.
 * Unbounded: whoever pushes is responsible for a bound (see limits.ts).
 */
export class AsyncQueue<Item> implements AsyncIterable<Item>, Disposable {
  readonly #items: Item[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #error: unknown;

  get size(): number {
    return this.#items.length;
  }

  push(item: Item): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake?.();
  }

  /** After the queued items the iteration ends, or throws `error`. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  [Symbol.dispose](): void {
    this.#items.length = 0;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void> {
    for (;;) {
      while (this.#items.length > 0) yield this.#items.shift() as Item;
      if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
