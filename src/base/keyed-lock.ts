/** Mutual exclusion by key within this process, fair, and cancellable while it waits. */
import { raceSignal } from './bounded-wait.ts';

export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits for `key`; dispose the result to let the next one in. Errors: Canceled, DeadlineExceeded. */
  async acquire(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<Disposable> {
    const before = this.#tails.get(key);
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const tail = (before ?? Promise.resolve()).then(() => released);
    this.#tails.set(key, tail);
    const held = {
      [Symbol.dispose]: (): void => {
        release();
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
      },
    };
    if (before !== undefined) {
      try {
        await (signal === undefined ? before : raceSignal(before, signal));
      } catch (error) {
        // Our place in the queue passes on as soon as it is reached.
        held[Symbol.dispose]();
        throw error;
      }
    }
    return held;
  }

  /** Takes `key` only if it is free. */
  tryAcquire(key: string): Disposable | undefined {
    if (this.#tails.has(key)) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tails.set(key, promise);
    return {
      [Symbol.dispose]: (): void => {
        resolve();
        if (this.#tails.get(key) === promise) this.#tails.delete(key);
      },
    };
  }
}
