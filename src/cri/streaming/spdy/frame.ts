/**
 * Frames of SPDY/3.1 (SPDY protocol draft 3.1, section 2.2 and 2.6). Control frames are read whole, up to a bound; data
 * is handed on piece by piece as it comes, so that a frame's announced length costs nothing.
 */
import { invalidArgument } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';

export type SpdyFrame =
  | {
      readonly kind: 'syn-stream' | 'headers';
      readonly streamId: number;
      readonly fin: boolean;
      /** Only in syn-stream: the other side will never send on it. */
      readonly unidirectional: boolean;
      readonly headerBlock: Uint8Array;
    }
  | {
      readonly kind: 'data';
      readonly streamId: number;
      /** Of the whole frame, with its first piece. */
      readonly frameBytes: number | undefined;
      readonly bytes: Uint8Array;
      /** The stream ends with this piece. */
      readonly fin: boolean;
    }
  | { readonly kind: 'reset'; readonly streamId: number }
  | { readonly kind: 'settings'; readonly initialWindowBytes: number | undefined }
  | { readonly kind: 'ping'; readonly id: number }
  | { readonly kind: 'go-away' }
  | { readonly kind: 'window-update'; readonly streamId: number; readonly deltaBytes: number };

const version = 3;
const headBytes = 8;
const idMask = 0x7fff_ffff;
const finFlag = 1;
const unidirectionalFlag = 2;
const initialWindowSetting = 7;
const maxStreamsSetting = 4;

interface Head {
  readonly control: boolean;
  /** Type of a control frame, stream of a data frame. */
  readonly typeOrStream: number;
  readonly flags: number;
  readonly lengthBytes: number;
}

/** Takes the bytes of a connection as they come, cut anywhere. */
export class SpdyFrameReader {
  /** Of a head or of a control frame that is not whole yet. */
  #pending: Buffer = Buffer.alloc(0);
  #head: Head | undefined;
  /** Of the data frame that is being read. */
  #restBytes = 0;
  #begun = false;

  /** Frames of other types are passed over. Errors: InvalidArgument for bytes that are no frames of SPDY/3. */
  *read(chunk: Uint8Array): Generator<SpdyFrame, void> {
    let rest = this.#pending.byteLength === 0 ? Buffer.from(chunk) : Buffer.concat([this.#pending, chunk]);
    this.#pending = Buffer.alloc(0);
    for (;;) {
      if (this.#head === undefined) {
        if (rest.byteLength < headBytes) break;
        this.#head = parseHead(rest);
        rest = rest.subarray(headBytes);
        this.#restBytes = this.#head.lengthBytes;
        this.#begun = false;
      }
      const head = this.#head;
      if (head.control) {
        if (rest.byteLength < head.lengthBytes) break;
        this.#head = undefined;
        const frame = parseControl(head, rest.subarray(0, head.lengthBytes));
        rest = rest.subarray(head.lengthBytes);
        if (frame !== undefined) yield frame;
        continue;
      }
      if (rest.byteLength === 0 && this.#restBytes > 0) break;
      const bytes = rest.subarray(0, this.#restBytes);
      rest = rest.subarray(bytes.byteLength);
      yield this.#takeData(head, bytes);
    }
    this.#pending = rest;
  }

  #takeData(head: Head, bytes: Uint8Array): SpdyFrame {
    this.#restBytes -= bytes.byteLength;
    const frameBytes = this.#begun ? undefined : head.lengthBytes;
    this.#begun = true;
    const done = this.#restBytes === 0;
    if (done) this.#head = undefined;
    const fin = done && (head.flags & finFlag) !== 0;
    return { kind: 'data', streamId: head.typeOrStream, frameBytes, bytes, fin };
  }
}

function parseHead(bytes: Buffer): Head {
  const word = bytes.readUInt32BE(0);
  const control = word >>> 31 === 1;
  const flags = bytes.readUInt8(4);
  const lengthBytes = bytes.readUIntBE(5, 3);
  if (!control) return { control, typeOrStream: word, flags, lengthBytes };
  const spoken = (word >>> 16) & 0x7fff;
  if (spoken !== version) throw invalidArgument(`a frame of SPDY/${spoken} where SPDY/3.1 is spoken`);
  if (lengthBytes > limits.spdyControlFrameBytes)
    throw invalidArgument(
      `a control frame of ${lengthBytes} bytes: ${limits.spdyControlFrameBytes} are allowed`,
    );
  return { control, typeOrStream: word & 0xffff, flags, lengthBytes };
}

function parseControl({ typeOrStream: type, flags }: Head, body: Buffer): SpdyFrame | undefined {
  const need = (sizeBytes: number): void => {
    if (body.byteLength < sizeBytes) throw invalidArgument(`a control frame of type ${type} is cut short`);
  };
  const idAt = (at: number): number => body.readUInt32BE(at) & idMask;
  const fin = (flags & finFlag) !== 0;
  switch (type) {
    case 1: {
      need(10);
      const unidirectional = (flags & unidirectionalFlag) !== 0;
      return { kind: 'syn-stream', streamId: idAt(0), fin, unidirectional, headerBlock: body.subarray(10) };
    }
    case 3:
      need(8);
      return { kind: 'reset', streamId: idAt(0) };
    case 4:
      return parseSettings(body, need);
    case 6:
      need(4);
      return { kind: 'ping', id: body.readUInt32BE(0) };
    case 7:
      return { kind: 'go-away' };
    case 8:
      need(4);
      return {
        kind: 'headers',
        streamId: idAt(0),
        fin,
        unidirectional: false,
        headerBlock: body.subarray(4),
      };
    case 9:
      need(8);
      return { kind: 'window-update', streamId: idAt(0), deltaBytes: idAt(4) };
    // A reply to a stream that no server opens.
    case 2:
      throw invalidArgument('a reply to a stream that was never opened');
    default:
      return undefined;
  }
}

function parseSettings(body: Buffer, need: (sizeBytes: number) => void): SpdyFrame {
  need(4);
  const count = body.readUInt32BE(0);
  need(4 + 8 * count);
  let initialWindowBytes: number | undefined;
  for (let at = 4; at < 4 + 8 * count; at += 8)
    if (body.readUIntBE(at + 1, 3) === initialWindowSetting) initialWindowBytes = body.readUInt32BE(at + 4);
  if (initialWindowBytes !== undefined && initialWindowBytes > idMask)
    throw invalidArgument(`a window of ${initialWindowBytes} bytes is more than there can be`);
  return { kind: 'settings', initialWindowBytes };
}

function controlFrame(type: number, words: readonly number[], block: Uint8Array = new Uint8Array()): Buffer {
  const frame = Buffer.alloc(headBytes + words.length * 4 + block.byteLength);
  frame.writeUInt32BE(((0x8000 | version) * 0x1_0000 + type) >>> 0, 0);
  frame.writeUIntBE(words.length * 4 + block.byteLength, 5, 3);
  words.forEach((word, index) => frame.writeUInt32BE(word, headBytes + index * 4));
  frame.set(block, headBytes + words.length * 4);
  return frame;
}

export const dataHead = (
  streamId: number,
  lengthBytes: number,
  { fin }: { readonly fin: boolean },
): Buffer => {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32BE(streamId, 0);
  head.writeUInt8(fin ? finFlag : 0, 4);
  head.writeUIntBE(lengthBytes, 5, 3);
  return head;
};

export type ResetReason = 'refused' | 'cancel' | 'closed';
const resetCodes: Readonly<Record<ResetReason, number>> = { refused: 3, cancel: 5, closed: 9 };

export const replyFrame = (streamId: number, headerBlock: Uint8Array): Buffer =>
  controlFrame(2, [streamId], headerBlock);
export const resetFrame = (streamId: number, reason: ResetReason): Buffer =>
  controlFrame(3, [streamId, resetCodes[reason]]);
export const settingsFrame = (maxStreams: number, initialWindowBytes: number): Buffer =>
  controlFrame(4, [2, maxStreamsSetting, maxStreams, initialWindowSetting, initialWindowBytes]);
export const pingFrame = (id: number): Buffer => controlFrame(6, [id]);
export const goAwayFrame = (lastStreamId: number, { failed }: { readonly failed: boolean }): Buffer =>
  controlFrame(7, [lastStreamId, failed ? 1 : 0]);
export const windowUpdateFrame = (streamId: number, deltaBytes: number): Buffer =>
  controlFrame(9, [streamId, deltaBytes]);
