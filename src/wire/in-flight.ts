/**
 * The calls that a server is working on, as data: the answer to "what is stuck, since when?". One registry is shared
 * by all servers of a process.
 */
import { type Instant, now } from '../base/time.ts';

export interface InFlightCall {
  readonly protocol: 'grpc' | 'ttrpc';
  /** `package.Service/Method`. */
  readonly method: string;
  readonly namespace: string | undefined;
  readonly startedAt: Instant;
  readonly ageMs: number;
}

interface Entry extends Omit<InFlightCall, 'ageMs'> {
  readonly startedMs: number;
}

export class InFlightCalls {
  readonly #entries = new Set<Entry>();

  /** Dispose when the call has ended. */
  begin(protocol: InFlightCall['protocol'], method: string, namespace: string | undefined): Disposable {
    const entry: Entry = { protocol, method, namespace, startedAt: now(), startedMs: performance.now() };
    this.#entries.add(entry);
    return { [Symbol.dispose]: () => void this.#entries.delete(entry) };
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Oldest first. */
  list(): readonly InFlightCall[] {
    const nowMs = performance.now();
    return [...this.#entries].map(({ startedMs, ...call }) => ({
      ...call,
      ageMs: Math.round(nowMs - startedMs),
    }));
  }
}
