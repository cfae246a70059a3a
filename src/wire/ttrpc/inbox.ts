/**
 * What has come on one stream and was not read yet. ttrpc cannot hold a single stream back, so when too much waits the
 * whole connection is paused, for a bounded time; a reader that does not come in that time loses the stream
 * (ResourceExhausted), and the calls beside it go on.
 */
import { AsyncQueue } from '../../base/async-queue.ts';
import { type ContainerdError, resourceExhausted } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { FrameChannel } from './channel.ts';

interface Waiting<Item> {
  readonly item: Item;
  readonly sizeBytes: number;
}

export class Inbox<Item> implements AsyncIterable<Item> {
  readonly #queue = new AsyncQueue<Waiting<Item>>();
  readonly #channel: FrameChannel;
  readonly #onStalled: (error: ContainerdError) => void;
  #waitingBytes = 0;
  #pause: NodeJS.Timeout | undefined;

  /** `onStalled` hears when the reader was too slow; the iteration fails with the same error. */
  constructor(channel: FrameChannel, onStalled: (error: ContainerdError) => void = () => {}) {
    this.#channel = channel;
    this.#onStalled = onStalled;
  }

  push(item: Item, sizeBytes: number): void {
    this.#queue.push({ item, sizeBytes });
    this.#waitingBytes += sizeBytes;
    if (this.#pause !== undefined || !this.#full()) return;
    this.#channel.pause();
    this.#pause = setTimeout(() => this.#stall(), limits.ttrpcStallMs);
  }

  /** The iteration ends after what was pushed, or throws `error`. */
  end(error?: unknown): void {
    this.#queue.end(error);
  }

  /** Nobody will read on. */
  discard(): void {
    this.#queue[Symbol.dispose]();
    this.#resume();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void> {
    for await (const { item, sizeBytes } of this.#queue) {
      this.#waitingBytes -= sizeBytes;
      if (!this.#full()) this.#resume();
      yield item;
    }
  }

  #full(): boolean {
    return this.#queue.size >= limits.ttrpcStreamQueue || this.#waitingBytes >= limits.ttrpcStreamQueueBytes;
  }

  #stall(): void {
    const error = resourceExhausted(`ttrpc: the stream was not read for ${limits.ttrpcStallMs} ms`);
    this.#queue.end(error);
    this.#resume();
    this.#onStalled(error);
  }

  #resume(): void {
    if (this.#pause === undefined) return;
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#channel.resume();
  }
}
