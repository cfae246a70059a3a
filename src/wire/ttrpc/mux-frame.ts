/**
 * Frames of NRI's multiplexing: a header of 8 bytes (connection id u32 BE, length u32 BE) and so many bytes of that
 * connection.
 *
 * The parser hands payloads on as they come and holds at most a header, whatever lengths the peer claims.
 */
import { type ContainerdError, resourceExhausted } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { headerBytes as ttrpcHeaderBytes } from './frame.ts';

const headerBytes = 8;

/** The largest payload that both ends may send in one frame: a whole ttrpc frame. */
export const muxPayloadBytes = limits.ttrpcMessageBytes + ttrpcHeaderBytes;

/**
 * Peers written in Go read a connection through a buffer of this size, and fail on a frame that is larger than the room
 * in it, unless they wait for the rest of a ttrpc frame.
 */
const peerBufferBytes = 4096;

export interface MuxPiece {
  readonly connectionId: number;
  /** A part of a payload, never empty. */
  readonly bytes: Buffer;
}

/** One ttrpc frame as frames of connection `connectionId`, cut where a peer's buffer ends. */
export function encodeMux(connectionId: number, bytes: Uint8Array): Buffer {
  const first = bytes.subarray(0, peerBufferBytes);
  const rest = bytes.subarray(peerBufferBytes);
  const parts = rest.byteLength === 0 ? [first] : [first, rest];
  return Buffer.concat(parts.flatMap((part) => [headerOf(connectionId, part.byteLength), part]));
}

function headerOf(connectionId: number, lengthBytes: number): Buffer {
  const header = Buffer.allocUnsafe(headerBytes);
  header.writeUInt32BE(connectionId, 0);
  header.writeUInt32BE(lengthBytes, 4);
  return header;
}

export class MuxParser {
  readonly #header = Buffer.alloc(headerBytes);
  #headerLength = 0;
  #connectionId = 0;
  #leftBytes = 0;

  /** Whether no frame is begun. */
  get idle(): boolean {
    return this.#headerLength === 0 && this.#leftBytes === 0;
  }

  /** Errors: ResourceExhausted when a frame says that it is larger than one may be; nothing can be read after that. */
  *push(chunk: Buffer): Generator<MuxPiece, void> {
    let at = 0;
    while (at < chunk.length) {
      if (this.#leftBytes === 0) {
        at += this.#readHeader(chunk, at);
        continue;
      }
      const bytes = chunk.subarray(at, at + this.#leftBytes);
      at += bytes.length;
      this.#leftBytes -= bytes.length;
      yield { connectionId: this.#connectionId, bytes };
    }
  }

  #readHeader(chunk: Buffer, at: number): number {
    const count = chunk.copy(this.#header, this.#headerLength, at, at + headerBytes - this.#headerLength);
    this.#headerLength += count;
    if (this.#headerLength < headerBytes) return count;
    this.#headerLength = 0;
    this.#connectionId = this.#header.readUInt32BE(0);
    this.#leftBytes = this.#header.readUInt32BE(4);
    if (this.#leftBytes > muxPayloadBytes) throw tooLarge(this.#leftBytes);
    return count;
  }
}

const tooLarge = (lengthBytes: number): ContainerdError =>
  resourceExhausted(`a multiplexed frame of ${lengthBytes} bytes exceeds the maximum of ${muxPayloadBytes}`);
