/** Things that go wrong on demand: each fault waits for a matching request and is used up by it. */
import type { Deferred } from '../../base/deferred.ts';

export type FaultEffect =
  /** Answers this instead. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Sends the header and this many bytes of the body, then cuts the connection. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** Cuts the connection without an answer. */
  | { readonly kind: 'reset' }
  /** Sends other bytes of the same length. */
  | { readonly kind: 'corrupt' }
  /** Sends this many bytes, then waits for `release`. */
  | {
      readonly kind: 'hold';
      readonly afterBytes: number;
      readonly release: Deferred;
      readonly reached: Deferred;
    }
  /** Sends a header that lies. */
  | { readonly kind: 'header'; readonly headers: Readonly<Record<string, string>> };

export interface Fault {
  readonly method?: string;
  /** Part of the path. */
  readonly path: string;
  readonly effect: FaultEffect;
  /** How many requests it hits; 1 when absent. */
  readonly times?: number;
}

export class FaultPlan {
  #faults: { fault: Fault; left: number }[] = [];

  add(fault: Fault): void {
    this.#faults.push({ fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#faults = [];
  }

  /** The first fault that fits, used up by one. */
  take(method: string, path: string): FaultEffect | undefined {
    const entry = this.#faults.find(
      ({ fault, left }) =>
        left > 0 && path.includes(fault.path) && (fault.method === undefined || fault.method === method),
    );
    if (entry === undefined) return undefined;
    entry.left -= 1;
    return entry.fault.effect;
  }
}
