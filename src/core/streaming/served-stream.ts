/**
 * The daemon's side of one streaming call: what the client sends is taken from it only when somebody receives, so a
 * client that sends too much is held up by the protocol's own flow control; what is sent waits for the client to take
 * it, up to a bound.
 */
import type { AnyValue } from '../../base/any-value.ts';
import { AsyncQueue } from '../../base/async-queue.ts';
import { type Deferred, deferred } from '../../base/deferred.ts';
import { unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { ValueStream } from './stream-manager.ts';

export class ServedStream implements ValueStream {
  readonly #incoming: AsyncIterator<AnyValue>;
  readonly #outgoing = new AsyncQueue<AnyValue>();
  readonly #ended = deferred();
  #room: Deferred | undefined;
  #closed = false;

  /** `incoming` are the client's values after the first, which named the stream. */
  constructor(incoming: AsyncIterator<AnyValue>) {
    this.#incoming = incoming;
  }

  async send(value: AnyValue): Promise<void> {
    while (!this.#closed && this.#outgoing.size >= limits.streamQueue) {
      this.#room ??= deferred();
      await this.#room.promise;
    }
    if (this.#closed) throw unavailable('the stream is closed');
    this.#outgoing.push(value);
  }

  async receive(): Promise<AnyValue | undefined> {
    const step = await this.#incoming.next();
    return step.done === true ? undefined : step.value;
  }

  async close(): Promise<void> {
    this.#shut();
    await this.#ended.promise;
  }

  /** The call is over, whatever was still to be sent. */
  abandon(): void {
    this.#shut();
    this.#ended.resolve();
  }

  /** What the client is to get, until somebody closes the stream. */
  async *values(): AsyncGenerator<AnyValue, void> {
    try {
      for await (const value of this.#outgoing) {
        this.#room?.resolve();
        this.#room = undefined;
        yield value;
      }
    } finally {
      this.abandon();
    }
  }

  #shut(): void {
    this.#closed = true;
    this.#outgoing.end();
    this.#room?.resolve();
  }
}
