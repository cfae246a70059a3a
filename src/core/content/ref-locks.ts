/** Who writes which ingest, in memory: a writer that vanished with its process holds nothing. */
import { unavailable } from '../../base/errors.ts';
import { formatInstant, type Instant, now } from '../../base/time.ts';

export class RefLocks {
  readonly #since = new Map<string, Instant>();

  /** `shown` is the ref as the caller knows it. Errors: Unavailable, which clients retry on, while it is held. */
  acquire(key: string, shown: string): Disposable {
    const since = this.#since.get(key);
    if (since !== undefined)
      throw unavailable(`ref ${shown} locked for ${seconds(now() - since)}s (since ${formatInstant(since)})`);
    const mine = now();
    this.#since.set(key, mine);
    return {
      [Symbol.dispose]: (): void => {
        if (this.#since.get(key) === mine) this.#since.delete(key);
      },
    };
  }

  isHeld(key: string): boolean {
    return this.#since.has(key);
  }
}

const seconds = (ns: bigint): string => (Number(ns) / 1e9).toFixed(9);
