/**
 * Bytes of one stream on their way from the connection to the one who reads them. Whoever pushes waits for `room` or
 * keeps count by `onTaken`, so that it holds no more than it should; when the reader stops, what comes is dropped.
 */
import { type Deferred, deferred } from '../../base/deferred.ts';
import { limits } from '../../base/limits.ts';

export class Inlet implements AsyncIterable<Uint8Array> {
  readonly #chunks: Uint8Array[] = [];
  readonly #onTaken: (sizeBytes: number) => void;
  #heldBytes = 0;
  #ended = false;
  #abandoned = false;
  #wake: Deferred | undefined;
  #room: Deferred | undefined;

  /** `onTaken` is told of bytes that the reader has done with, or that are dropped. */
  constructor(onTaken: (sizeBytes: number) => void = () => {}) {
    this.#onTaken = onTaken;
  }

  push(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    if (this.#abandoned || this.#ended) {
      this.#onTaken(bytes.byteLength);
      return;
    }
    this.#chunks.push(bytes);
    this.#heldBytes += bytes.byteLength;
    this.#wake?.resolve();
  }

  /** After what was pushed. */
  end(): void {
    this.#ended = true;
    this.#wake?.resolve();
    this.#room?.resolve();
  }

  /** Nobody reads it any more. */
  abandon(): void {
    this.#abandoned = true;
    this.#chunks.length = 0;
    this.#release(this.#heldBytes);
    this.#wake?.resolve();
  }

  /** Resolves when less than a buffer is held, or when it does not matter any more. */
  async room(): Promise<void> {
    while (this.#heldBytes >= limits.criStreamBufferBytes && !this.#ended && !this.#abandoned) {
      this.#room ??= deferred();
      await this.#room.promise;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) {
          yield chunk;
          // Dropped by `abandon` in the meantime, it was counted there.
          if (!this.#abandoned) this.#release(chunk.byteLength);
          continue;
        }
        if (this.#ended || this.#abandoned) return;
        this.#wake = deferred();
        await this.#wake.promise;
      }
    } finally {
      if (!this.#abandoned) this.abandon();
    }
  }

  #release(sizeBytes: number): void {
    this.#heldBytes -= sizeBytes;
    if (sizeBytes > 0) this.#onTaken(sizeBytes);
    this.#room?.resolve();
    this.#room = undefined;
  }
}
