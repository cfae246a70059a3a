/**
 * Streams beside calls: a client opens one under a name of its choice, and a later call (a transfer) refers to it.
 * Names are unique within a namespace while the stream lives (containerd.services.streaming.v1).
 */
import type { AnyValue } from '../../base/any-value.ts';
import type { Context } from '../../base/context.ts';
import { alreadyExists, invalidArgument, notFound, resourceExhausted } from '../../base/errors.ts';
import type { LeaseId, Namespace } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import type { Collectible, CollectibleObject } from '../gc/collectible.ts';

/** One side of a stream of values. */
export interface ValueStream {
  /** Resolves when the value was handed on. Errors: Unavailable when the stream is over. */
  send(value: AnyValue): Promise<void>;
  /** The next value; undefined at the end. One caller at a time. */
  receive(): Promise<AnyValue | undefined>;
  /** Ends it for both sides, after what was sent; resolves when all of that has been handed to the protocol. */
  close(): Promise<void>;
}

interface Registration extends CollectibleObject {
  readonly stream: ValueStream;
}

/** For collection: a stream stays as long as it is open, but with a lease as long as that one. */
export class StreamManager implements Collectible {
  readonly kind = 'stream';
  readonly #streams = new Map<string, Registration>();

  /** Until the result is disposed. Errors: InvalidArgument (id), AlreadyExists, ResourceExhausted. */
  register(
    namespace: Namespace,
    id: string,
    stream: ValueStream,
    { lease }: { lease?: LeaseId | undefined } = {},
  ): Disposable {
    if (id === '' || Buffer.byteLength(id) > limits.streamIdBytes)
      throw invalidArgument(`a stream id has 1 to ${limits.streamIdBytes} bytes`);
    const key = keyOf(namespace, id);
    if (this.#streams.has(key)) throw alreadyExists('stream', id);
    if (this.#streams.size >= limits.streams)
      throw resourceExhausted(`${limits.streams} streams are open: close those that no call uses`);
    const registration = { namespace, id, lease, isRoot: lease === undefined, labels: {}, stream };
    this.#streams.set(key, registration);
    return { [Symbol.dispose]: () => this.#forget(registration) };
  }

  /** Errors: NotFound. */
  get(namespace: Namespace, id: string): ValueStream {
    const registration = this.#streams.get(keyOf(namespace, id));
    if (registration === undefined) throw notFound('stream', id);
    return registration.stream;
  }

  objects(): readonly CollectibleObject[] {
    return [...this.#streams.values()];
  }

  async free(_ctx: Context, garbage: readonly CollectibleObject[]): Promise<void> {
    const gone = new Set(garbage);
    const closing = [...this.#streams.values()].filter((registration) => gone.has(registration));
    for (const registration of closing) this.#forget(registration);
    await Promise.all(closing.map(({ stream }) => stream.close()));
  }

  get size(): number {
    return this.#streams.size;
  }

  #forget(registration: Registration): void {
    const key = keyOf(registration.namespace, registration.id);
    if (this.#streams.get(key) === registration) this.#streams.delete(key);
  }
}

const keyOf = (namespace: string, id: string): string => `${namespace} ${id}`;
