/**
 * Messages in the body of a call: a byte that says how it is packed, the length in four bytes (big-endian), and the
 * message. What is packed is cut here and unpacked by whoever reads it (compression.ts).
 * Source: gRPC over HTTP/2, "Length-Prefixed-Message".
 */
import { resourceExhausted } from '../../base/errors.ts';

const prefixBytes = 5;
const plainFormat = 0;

/** A message whose bytes must be unpacked first. */
export class PackedMessage {
  readonly bytes: Uint8Array;
  /** The byte before the length; never 0. */
  readonly format: number;

  constructor(bytes: Uint8Array, format: number) {
    this.bytes = bytes;
    this.format = format;
  }
}

/** A message as it travels; the plain ones, nearly all, are just their bytes. */
export type WireMessage = Uint8Array | PackedMessage;

/** What of a message counts against limits: its bytes as they travel. */
export const bytesOf = (message: WireMessage): Uint8Array =>
  message instanceof PackedMessage ? message.bytes : message;

export function frameOf(message: WireMessage): Buffer {
  const bytes = bytesOf(message);
  const frame = Buffer.allocUnsafe(prefixBytes + bytes.byteLength);
  frame[0] = message instanceof PackedMessage ? message.format : plainFormat;
  frame.writeUInt32BE(bytes.byteLength, 1);
  frame.set(bytes, prefixBytes);
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
   * Errors: ResourceExhausted as soon as a length says so.
   */
  push(chunk: Buffer): WireMessage[] {
    this.#chunks.push(chunk);
    this.#length += chunk.byteLength;
    const messages: WireMessage[] = [];
    for (;;) {
      if (this.#length < prefixBytes) return messages;
      const prefix = this.#first(prefixBytes);
      const messageBytes = prefix.readUInt32BE(1);
      const format = prefix.readUInt8(0);
      if (messageBytes > this.#maxBytes)
        throw resourceExhausted(
          `a message of ${messageBytes} bytes is larger than the ${this.#maxBytes} that are taken`,
        );
      if (this.#length < prefixBytes + messageBytes) return messages;
      const bytes = this.#take(prefixBytes + messageBytes).subarray(prefixBytes);
      messages.push(format === plainFormat ? bytes : new PackedMessage(bytes, format));
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
