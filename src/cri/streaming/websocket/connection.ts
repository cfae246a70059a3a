/**
 * Byte channels in the messages of one WebSocket: the first byte of a message is the channel's number, or its digit
 * before base64. While a channel that the client sends on is not read, neither is the connection.
 */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { canceled, hasCode, invalidArgument } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import type { Logger } from '../../../base/logger.ts';
import { Inlet } from '../inlet.ts';
import type { ByteSink } from '../streaming-runtime.ts';
import {
  frameHead,
  messageTooLong,
  type Opcode,
  type WebSocketFrame,
  WebSocketFrameReader,
} from './frame.ts';

export interface ChannelOptions {
  readonly base64: boolean;
  /** A message on channel 255 closes the channel that its one byte names (version 5). */
  readonly halfClose: boolean;
}

const closeChannel = 255;

/** Close codes (RFC 6455, section 7.4.1). */
const closeCodes = { normal: 1000, protocol: 1002, tooLong: 1009 } as const;

export class WebSocketConnection {
  readonly #socket: Duplex;
  readonly #log: Logger;
  readonly #options: ChannelOptions;
  readonly #inlets = new Map<number, Inlet>();
  readonly #gone = new AbortController();
  /** Of the message that is not whole yet. */
  #parts: Buffer[] | undefined;
  #partBytes = 0;
  #closing = false;

  constructor({ socket, log }: { readonly socket: Duplex; readonly log: Logger }, options: ChannelOptions) {
    this.#socket = socket;
    this.#log = log;
    this.#options = options;
    // Also while nothing is read because a channel has no room.
    socket.once('close', () => this.#leave());
  }

  /** Fires with Canceled when the client has left, or has broken the protocol. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** What the client sends on this channel. To be asked for before `run`; other channels are passed over. */
  source(channel: number): Inlet {
    const inlet = new Inlet();
    this.#inlets.set(channel, inlet);
    return inlet;
  }

  /** A channel to the client. Closing it is not told: protocols have no word for it. */
  sink(channel: number): ByteSink {
    let closed = false;
    return {
      write: async (bytes) => {
        if (closed || this.#closing || this.#gone.signal.aborted)
          throw canceled('the client does not take more of it');
        await this.#sendMessage(channel, bytes);
      },
      close: () => {
        closed = true;
      },
    };
  }

  /** Reads until the client closes, leaves or breaks the protocol. Once. Never rejects. */
  async run(): Promise<void> {
    const reader = new WebSocketFrameReader();
    try {
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false }))
        for (const frame of reader.read(chunk as Uint8Array)) if (!(await this.#onFrame(frame))) return;
    } catch (error) {
      this.#log.debug({ error }, 'a WebSocket ends');
      if (hasCode(error, 'InvalidArgument')) this.close(closeCodes.protocol);
      if (hasCode(error, 'OutOfRange')) this.close(closeCodes.tooLong);
      this.#socket.end();
    } finally {
      this.#leave();
    }
  }

  /** Says that nothing more will come; the client answers when it has read all. */
  close(code: number = closeCodes.normal): void {
    if (this.#closing) return;
    this.#closing = true;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.#send('close', payload);
  }

  #leave(): void {
    this.#gone.abort(canceled('the client has left'));
    for (const inlet of this.#inlets.values()) inlet.end();
  }

  /** False when the socket wants no more for now. */
  #send(opcode: Opcode, payload: Uint8Array, prefix: Uint8Array = new Uint8Array()): boolean {
    if (!this.#socket.writable) return true;
    this.#socket.cork();
    this.#socket.write(frameHead(opcode, payload.byteLength, prefix));
    const hasRoom = this.#socket.write(payload);
    this.#socket.uncork();
    return hasRoom;
  }

  async #sendMessage(channel: number, bytes: Uint8Array): Promise<void> {
    const hasRoom = this.#options.base64
      ? this.#send('text', Buffer.from(`${channel}${Buffer.from(bytes).toString('base64')}`))
      : this.#send('binary', bytes, Uint8Array.of(channel));
    if (!hasRoom) await this.#drained();
  }

  async #drained(): Promise<void> {
    if (!this.#socket.writableNeedDrain || this.#gone.signal.aborted) return;
    await once(this.#socket, 'drain', { signal: this.#gone.signal }).catch(() => {});
  }

  /** False after the last one. */
  async #onFrame({ opcode, fin, payload }: WebSocketFrame): Promise<boolean> {
    if (opcode === 'close') {
      this.close(closeCodes.normal);
      return false;
    }
    if (opcode === 'pong') return true;
    if (opcode === 'ping') {
      // A client that pings without reading waits for itself.
      if (!this.#closing && !this.#send('pong', payload)) await this.#drained();
      return true;
    }
    if ((opcode === 'continuation') !== (this.#parts !== undefined))
      throw invalidArgument('parts of messages in disorder');
    this.#parts ??= [];
    this.#parts.push(payload);
    this.#partBytes += payload.byteLength;
    // Empty parts cost, too.
    if (this.#partBytes > limits.criStreamMessageBytes || this.#parts.length > limits.criStreamMessageParts)
      throw messageTooLong(this.#partBytes);
    if (!fin) return true;
    const message = this.#parts.length === 1 ? payload : Buffer.concat(this.#parts);
    this.#parts = undefined;
    this.#partBytes = 0;
    await this.#onMessage(message);
    return true;
  }

  async #onMessage(message: Buffer): Promise<void> {
    const [first] = message;
    if (first === undefined) return;
    const { base64, halfClose } = this.#options;
    const channel = base64 ? first - 0x30 : first;
    const bytes = base64 ? Buffer.from(message.toString('latin1', 1), 'base64') : message.subarray(1);
    if (halfClose && channel === closeChannel) {
      if (bytes.byteLength !== 1) throw invalidArgument('a message that closes a channel names one');
      this.#inlets.get(bytes[0] as number)?.end();
      return;
    }
    const inlet = this.#inlets.get(channel);
    if (inlet === undefined) return;
    inlet.push(bytes);
    await inlet.room();
  }
}
