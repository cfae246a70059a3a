/**
 * Streams beside calls: a client opens one under a name of its choice, and a later call (a transfer) refers to it.
 * Names are unique within a namespace while the stream lives (containerd.services.streaming.v1).
 */
import type { AnyValue } from '../../base/any-value.ts';
import { alreadyExists, invalidArgument, notFound, resourceExhausted } from '../../base/errors.ts';
import type { Namespace } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';

/** One side of a stream of values. */
export interface ValueStream {
  /** Resolves when the value was handed on. Errors: Unavailable when the stream is over. */
  send(value: AnyValue): Promise<void>;
  /** The next value; undefined at the end. One caller at a time. */
  receive(): Promise<AnyValue | undefined>;
  /** Ends it for both sides, after what was sent; resolves when all of that has been handed to the protocol. */
  close(): Promise<void>;
}

export class StreamManager {
  readonly #streams = new Map<string, ValueStream>();

  /** Until the result is disposed. Errors: InvalidArgument (id), AlreadyExists, ResourceExhausted. */
  register(namespace: Namespace, id: string, stream: ValueStream): Disposable {
    if (id === '' || Buffer.byteLength(id) > limits.streamIdBytes)
      throw invalidArgument(`a stream id has 1 to ${limits.streamIdBytes} bytes`);
    const key = keyOf(namespace, id);
    if (this.#streams.has(key)) throw alreadyExists('stream', id);
    if (this.#streams.size >= limits.streams)
      throw resourceExhausted(`${limits.streams} streams are open: close those that no call uses`);
    this.#streams.set(key, stream);
    return {
      [Symbol.dispose]: () => {
        if (this.#streams.get(key) === stream) this.#streams.delete(key);
      },
    };
  }

  /** Errors: NotFound. */
  get(namespace: Namespace, id: string): ValueStream {
    const stream = this.#streams.get(keyOf(namespace, id));
    if (stream === undefined) throw notFound('stream', id);
    return stream;
  }

  get size(): number {
    return this.#streams.size;
  }
}

const keyOf = (namespace: Namespace, id: string): string => `${namespace} ${id}`;
