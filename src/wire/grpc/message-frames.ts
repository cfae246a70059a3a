/**
 * Messages in the body of a call: a flag byte, the length in four bytes (big-endian), and the message.
 * Source: gRPC over HTTP/2, "Length-Prefixed-Message".
 */
import { resourceExhausted, unimplemented } from '../../base/errors.ts';

const prefixBytes = 5;

export function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(prefixBytes + message.byteLength);
  frame[0] = 0;
  frame.writeUInt32BE(message.byteLength, 1);
  frame.set(message, prefixBytes);
  return frame;
}

/** Cuts what comes into messages. It keeps the chunks of an unfinished one and never more than its bound. */
export class MessageCutter {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** A message has begun that has not ended. */
  get isInside(): boolean {
    return this.#length > 0;
  }

  /**
   * The messages that end with `chunk`; they may share its memory.
   * Errors: ResourceExhausted as soon as a length says so; Unimplemented for a compressed message.
   */
  push(chunk: Buffer): Uint8Array[] {
    this.#chunks.push(chunk);
    this.#length += chunk.byteLength;
    const messages: Uint8Array[] = [];
    for (;;) {
      if (this.#length < prefixBytes) return messages;
      const prefix = this.#first(prefixBytes);
      const messageBytes = prefix.readUInt32BE(1);
      if (prefix[0] !== 0) throw unimplemented('compression of messages');
      if (messageBytes > this.#maxBytes)
        throw resourceExhausted(
          `a message of ${messageBytes} bytes is larger than the ${this.#maxBytes} that are taken`,
        );
      if (this.#length < prefixBytes + messageBytes) return messages;
      messages.push(this.#take(prefixBytes + messageBytes).subarray(prefixBytes));
    }
  }

  /** At least `count` bytes from the beginning in one piece; nothing is consumed. */
  #first(count: number): Buffer {
    const [first] = this.#chunks;
    if (first !== undefined && first.byteLength >= count) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }

  #take(count: number): Buffer {
    const joined = this.#first(count);
    this.#chunks.shift();
    if (joined.byteLength > count) this.#chunks.unshift(joined.subarray(count));
    this.#length -= count;
    return joined.subarray(0, count);
  }
}
