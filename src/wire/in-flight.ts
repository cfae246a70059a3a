/**
 * The calls that the servers of a process are working on, as data: the answer to "what is stuck, since when?". One
 * registry is shared by all servers, and whoever measures calls observes them here.
 *
 * Invariant: a call is in the list from before its handler runs until its answer was handed over. Observers are told
 * and never asked; without any a call costs no more than its entry.
 */
import type { DescMethod } from '@bufbuild/protobuf';
import { type Instant, now } from '../base/time.ts';
import type { PeerCredentials } from './unix-listener.ts';

/** A call as its server knows it before the handler runs. */
export interface ServedCall {
  readonly protocol: 'grpc' | 'ttrpc';
  /** `package.Service/Method`. */
  readonly method: string;
  readonly kind: DescMethod['methodKind'];
  readonly namespace: string | undefined;
  /** What the client gives it; undefined for as long as it takes. */
  readonly timeoutMs: number | undefined;
  /** Who asks. Errors: Unavailable once the connection is gone. Undefined where the transport does not know. */
  readonly peer: (() => PeerCredentials) | undefined;
  /** One header of the client, by its name in lower case. */
  readonly header: (name: string) => string | undefined;
}

export interface InFlightCall {
  /** Counts up from 1 in each process. */
  readonly id: number;
  readonly protocol: ServedCall['protocol'];
  readonly method: string;
  readonly namespace: string | undefined;
  readonly startedAt: Instant;
  readonly ageMs: number;
  /** What is left of the client's patience; negative when the call stayed longer. Undefined without a deadline. */
  readonly deadlineInMs: number | undefined;
  readonly peer: PeerCredentials | undefined;
}

/** What an observer wants to know of one call. */
export interface CallObservation {
  /** A message came from the client. */
  received?(): void;
  /** A message went to the client. */
  sent?(): void;
  /** Once, with the number of a google.rpc.Code; 0 is success. */
  ended?(code: number): void;
  /** Runs the handler: for what must be around it, as an asynchronous context is. */
  run?<Answer>(handle: () => Answer): Answer;
}

export interface CallObserver {
  began(call: ServedCall): CallObservation;
}

/** A call under way. Disposed when it has ended; then it counts as a success unless `failed` was told. */
export class RunningCall implements Disposable {
  readonly #entry: Entry;
  readonly #observations: readonly CallObservation[];
  readonly #over: () => void;
  #code = 0;

  constructor(entry: Entry, observations: readonly CallObservation[], over: () => void) {
    this.#entry = entry;
    this.#observations = observations;
    this.#over = over;
  }

  get method(): string {
    return this.#entry.call.method;
  }

  received(): void {
    for (const observation of this.#observations) observation.received?.();
  }

  sent(): void {
    for (const observation of this.#observations) observation.sent?.();
  }

  failed(code: number): void {
    this.#code = code;
  }

  run<Answer>(handle: () => Answer): Answer {
    let wrapped = handle;
    for (const observation of this.#observations) {
      const inner = wrapped;
      if (observation.run !== undefined) wrapped = () => observation.run?.(inner) as Answer;
    }
    return wrapped();
  }

  [Symbol.dispose](): void {
    this.#over();
    for (const observation of this.#observations) observation.ended?.(this.#code);
  }
}

interface Entry {
  readonly id: number;
  readonly call: ServedCall;
  readonly startedAt: Instant;
  readonly startedMs: number;
}

const unobserved: readonly CallObservation[] = [];

export class InFlightCalls {
  readonly #entries = new Set<Entry>();
  readonly #observers = new Set<CallObserver>();
  #lastId = 0;

  /** From now on; calls under way are not told of. */
  observe(observer: CallObserver): Disposable {
    this.#observers.add(observer);
    return { [Symbol.dispose]: () => void this.#observers.delete(observer) };
  }

  begin(call: ServedCall): RunningCall {
    this.#lastId += 1;
    const entry: Entry = { id: this.#lastId, call, startedAt: now(), startedMs: performance.now() };
    this.#entries.add(entry);
    const observations =
      this.#observers.size === 0 ? unobserved : [...this.#observers].map((observer) => observer.began(call));
    return new RunningCall(entry, observations, () => void this.#entries.delete(entry));
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Oldest first. */
  list(): readonly InFlightCall[] {
    const nowMs = performance.now();
    return [...this.#entries].map(({ id, call, startedAt, startedMs }) => {
      const { protocol, method, namespace, timeoutMs, peer } = call;
      const ageMs = Math.round(nowMs - startedMs);
      const deadlineInMs = timeoutMs === undefined ? undefined : Math.round(timeoutMs) - ageMs;
      return { id, protocol, method, namespace, startedAt, ageMs, deadlineInMs, peer: known(peer) };
    });
  }
}

function known(peer: ServedCall['peer']): PeerCredentials | undefined {
  try {
    return peer?.();
  } catch {
    // It has gone, or this platform cannot tell.
    return undefined;
  }
}
