/**
 * ttrpc frames: a header of 10 bytes (data length u32 BE, stream id u32 BE, type u8, flags u8) and the data.
 *
 * The parser takes bytes as they come and never holds more than one frame's data. A frame that says it is larger than
 * the protocol's 4 MiB is skipped and reported, as containerd's own implementation does, so that the connection goes on.
 * Source: PROTOCOL.md of ttrpc.
 */
import { type ContainerdError, resourceExhausted } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';

export const headerBytes = 10;

export const frameTypes = { request: 1, response: 2, data: 3 } as const;

export const frameFlags = {
  /** The sender sends no more. */
  remoteClosed: 0x01,
  /** On a request: more will follow. */
  remoteOpen: 0x02,
  /** On data: there is none in this frame. */
  noData: 0x04,
} as const;

export interface Frame {
  readonly streamId: number;
  /** One of `frameTypes`; others are of the future and to be ignored. */
  readonly type: number;
  readonly flags: number;
  readonly data: Uint8Array;
}

export const hasFlag = (frame: Frame, flag: number): boolean => (frame.flags & flag) !== 0;

/** Errors: ResourceExhausted when the data is larger than a frame may carry. */
export function encodeFrame(frame: Frame): Buffer {
  const lengthBytes = frame.data.byteLength;
  if (lengthBytes > limits.ttrpcMessageBytes) throw oversized(lengthBytes);
  const bytes = Buffer.allocUnsafe(headerBytes + lengthBytes);
  bytes.writeUInt32BE(lengthBytes, 0);
  bytes.writeUInt32BE(frame.streamId, 4);
  bytes.writeUInt8(frame.type, 8);
  bytes.writeUInt8(frame.flags, 9);
  bytes.set(frame.data, headerBytes);
  return bytes;
}

export const oversized = (lengthBytes: number): ContainerdError =>
  resourceExhausted(
    `message length ${lengthBytes} exceeds maximum message size of ${limits.ttrpcMessageBytes}`,
  );

/** What the parser finds: a frame, or one that was skipped because it was too large. */
export type Parsed =
  | { readonly kind: 'frame'; readonly frame: Frame }
  | { readonly kind: 'oversized'; readonly streamId: number; readonly lengthBytes: number };

interface Header {
  readonly lengthBytes: number;
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
}

export class FrameParser {
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  #current: Header | undefined;
  /** Data of the current frame; undefined while an oversized one is skipped. */
  #data: Buffer | undefined;
  #dataFilled = 0;

  /** True between frames: the only place where a connection may end. */
  get idle(): boolean {
    return this.#headerFilled === 0;
  }

  /** What `chunk` completes, in order. The data of frames is a copy, so `chunk` may be reused. */
  *push(chunk: Uint8Array): Generator<Parsed, void> {
    let offset = 0;
    for (;;) {
      if (this.#current === undefined) {
        offset += this.#takeHeader(chunk, offset);
        if (this.#headerFilled < headerBytes) return;
        this.#current = this.#startFrame();
      }
      offset += this.#takeData(chunk, offset, this.#current);
      if (this.#dataFilled < this.#current.lengthBytes) return;
      yield this.#finish(this.#current);
    }
  }

  #takeHeader(chunk: Uint8Array, offset: number): number {
    const taken = Math.min(headerBytes - this.#headerFilled, chunk.byteLength - offset);
    this.#header.set(chunk.subarray(offset, offset + taken), this.#headerFilled);
    this.#headerFilled += taken;
    return taken;
  }

  #startFrame(): Header {
    const lengthBytes = this.#header.readUInt32BE(0);
    this.#dataFilled = 0;
    this.#data = lengthBytes <= limits.ttrpcMessageBytes ? Buffer.allocUnsafe(lengthBytes) : undefined;
    return {
      lengthBytes,
      streamId: this.#header.readUInt32BE(4),
      type: this.#header.readUInt8(8),
      flags: this.#header.readUInt8(9),
    };
  }

  #takeData(chunk: Uint8Array, offset: number, header: Header): number {
    const taken = Math.min(header.lengthBytes - this.#dataFilled, chunk.byteLength - offset);
    this.#data?.set(chunk.subarray(offset, offset + taken), this.#dataFilled);
    this.#dataFilled += taken;
    return taken;
  }

  #finish(header: Header): Parsed {
    const data = this.#data;
    this.#current = undefined;
    this.#data = undefined;
    this.#headerFilled = 0;
    const { streamId, lengthBytes, type, flags } = header;
    if (data === undefined) return { kind: 'oversized', streamId, lengthBytes };
    return { kind: 'frame', frame: { streamId, type, flags, data } };
  }
}
