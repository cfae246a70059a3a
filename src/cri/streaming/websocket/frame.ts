/** Frames of WebSockets as a server reads and writes them (RFC 6455, section 5). Extensions are never agreed on. */
import { invalidArgument, outOfRange } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';

export type Opcode = 'continuation' | 'text' | 'binary' | 'close' | 'ping' | 'pong';

export interface WebSocketFrame {
  readonly opcode: Opcode;
  /** Last of its message. */
  readonly fin: boolean;
  /** Unmasked. */
  readonly payload: Buffer;
}

const codes: Readonly<Record<Opcode, number>> = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
};
const opcodes = new Map(Object.entries(codes).map(([name, code]) => [code, name as Opcode]));

/** Takes the bytes of a connection as they come, cut anywhere. */
export class WebSocketFrameReader {
  readonly #chunks: Buffer[] = [];
  #heldBytes = 0;
  /** How much must be there before it is worth looking again. */
  #neededBytes = 2;

  /** Errors: InvalidArgument for what no client may send; OutOfRange for a frame above the limit of a message. */
  *read(chunk: Uint8Array): Generator<WebSocketFrame, void> {
    this.#chunks.push(Buffer.from(chunk));
    this.#heldBytes += chunk.byteLength;
    while (this.#heldBytes >= this.#neededBytes) {
      const bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
      const taken = takeFrame(bytes);
      const rest = typeof taken === 'number' ? bytes : bytes.subarray(taken.sizeBytes);
      this.#chunks.splice(0, Infinity, rest);
      this.#heldBytes = rest.byteLength;
      this.#neededBytes = typeof taken === 'number' ? taken : 2;
      if (typeof taken !== 'number') yield taken.frame;
    }
  }
}

/** The first frame and its size, or how many bytes it needs. */
function takeFrame(bytes: Buffer): { readonly frame: WebSocketFrame; readonly sizeBytes: number } | number {
  const [first = 0, second = 0] = bytes;
  const opcode = opcodes.get(first & 0x0f);
  const fin = (first & 0x80) !== 0;
  if (opcode === undefined || (first & 0x70) !== 0)
    throw invalidArgument('a frame of a kind or with an extension that was not agreed on');
  if ((second & 0x80) === 0) throw invalidArgument('a frame of a client that is not masked');
  const short = second & 0x7f;
  if (codes[opcode] >= 8 && (!fin || short > 125))
    throw invalidArgument('a control frame that is long or in parts');
  const maskAt = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0);
  if (bytes.byteLength < maskAt + 4) return maskAt + 4;
  const lengthBytes =
    short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
  if (lengthBytes > limits.criStreamMessageBytes) throw messageTooLong(lengthBytes);
  const sizeBytes = maskAt + 4 + lengthBytes;
  if (bytes.byteLength < sizeBytes) return sizeBytes;
  const mask = bytes.subarray(maskAt, maskAt + 4);
  const payload = Buffer.from(bytes.subarray(maskAt + 4, sizeBytes));
  for (let at = 0; at < payload.byteLength; at += 1)
    payload[at] = (payload[at] as number) ^ (mask[at & 3] as number);
  return { frame: { opcode, fin, payload }, sizeBytes };
}

/** Thrown as OutOfRange: answered by close code 1009, other mistakes by 1002. */
export const messageTooLong = (sizeBytes: number): Error =>
  outOfRange(`a message of ${sizeBytes} bytes: ${limits.criStreamMessageBytes} are allowed`);

/** One unmasked frame that is a whole message; `prefix` is the beginning of its payload. */
export function frameHead(opcode: Opcode, payloadBytes: number, prefix: Uint8Array): Buffer {
  const sizeBytes = payloadBytes + prefix.byteLength;
  const extended = sizeBytes > 65_535 ? 8 : sizeBytes > 125 ? 2 : 0;
  const head = Buffer.alloc(2 + extended + prefix.byteLength);
  head[0] = 0x80 | codes[opcode];
  head[1] = extended === 8 ? 127 : extended === 2 ? 126 : sizeBytes;
  if (extended === 2) head.writeUInt16BE(sizeBytes, 2);
  if (extended === 8) head.writeBigUInt64BE(BigInt(sizeBytes), 2);
  head.set(prefix, 2 + extended);
  return head;
}
