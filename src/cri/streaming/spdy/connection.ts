/**
 * The server's side of one SPDY/3.1 connection: streams that the client opens, and nothing is pushed.
 *
 * Flow control is kept with clients that keep it, and such a client that sends more than its window ends the
 * connection. Those that do not (the library of kubectl, the API server and crictl reads no window update and sends
 * none) are known by never speaking of windows: to them we send as fast as the socket takes it, and when one of their
 * streams is not read, the connection is not read either, as the peers that they know do it.
 */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { canceled, hasCode, invalidArgument } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import type { Logger } from '../../../base/logger.ts';
import {
  dataHead,
  goAwayFrame,
  pingFrame,
  type ResetReason,
  replyFrame,
  resetFrame,
  type SpdyFrame,
  SpdyFrameReader,
  settingsFrame,
  windowUpdateFrame,
} from './frame.ts';
import { HeaderInflater, HeaderStorer, type SpdyHeaders } from './header-block.ts';
import { SpdyStream, type StreamTransport } from './stream.ts';

/** The protocol's own (section 2.6.8). */
const initialWindowBytes = 64 * 1024;
const maxWindowBytes = 0x7fff_ffff;

/** What ordinary clients of HTTP over SPDY want to see; ours read nothing of it. */
const replyHeaders: SpdyHeaders = new Map([
  [':status', '200 OK'],
  [':version', 'HTTP/1.1'],
]);

export class SpdyConnection implements StreamTransport {
  readonly #socket: Duplex;
  readonly #log: Logger;
  /** Answers false to refuse the stream. */
  readonly #onStream: (stream: SpdyStream) => boolean;
  readonly #streams = new Map<number, SpdyStream>();
  /** Whose client half is open. */
  readonly #receiving = new Set<SpdyStream>();
  readonly #headersOut = new HeaderStorer();
  readonly #gone = new AbortController();
  #lastStreamId = 0;
  #peerKeepsWindows = false;
  #sendWindowBytes = initialWindowBytes;
  #peerStreamWindowBytes = initialWindowBytes;
  #receiveWindowBytes = initialWindowBytes;
  #closing = false;

  constructor({
    socket,
    log,
    onStream,
  }: {
    readonly socket: Duplex;
    readonly log: Logger;
    readonly onStream: (stream: SpdyStream) => boolean;
  }) {
    this.#socket = socket;
    this.#log = log;
    this.#onStream = onStream;
    // Also while nothing is read because a stream has no room.
    socket.once('close', () => this.#leave());
  }

  /** Fires with Canceled when the client has left, or has broken the protocol. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Reads until the client leaves or breaks the protocol. Once. Never rejects. */
  async run(): Promise<void> {
    using inflater = new HeaderInflater();
    const reader = new SpdyFrameReader();
    this.#send(settingsFrame(limits.spdyStreams, limits.criStreamBufferBytes));
    try {
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false }))
        for (const frame of reader.read(chunk as Uint8Array)) await this.#onFrame(frame, inflater);
    } catch (error) {
      this.#log.debug({ error }, 'a SPDY connection ends');
      if (hasCode(error, 'InvalidArgument')) {
        this.#send(goAwayFrame(this.#lastStreamId, { failed: true }));
        this.#socket.end();
      }
    } finally {
      this.#leave();
    }
  }

  /** Says that nothing more will come; the client closes when it has read what it wants. */
  close(): void {
    if (this.#closing || this.#gone.signal.aborted) return;
    this.#closing = true;
    this.#send(goAwayFrame(this.#lastStreamId, { failed: false }));
  }

  canSend(stream: SpdyStream): boolean {
    return this.#sendRoomBytes(stream) > 0;
  }

  async sendData(stream: SpdyStream, bytes: Uint8Array): Promise<number> {
    const sizeBytes = Math.min(bytes.byteLength, this.#sendRoomBytes(stream), limits.spdyDataFrameBytes);
    stream.sendWindowBytes -= sizeBytes;
    this.#sendWindowBytes -= sizeBytes;
    this.#socket.cork();
    this.#send(dataHead(stream.id, sizeBytes, { fin: false }));
    const hasRoom = this.#send(bytes.subarray(0, sizeBytes));
    this.#socket.uncork();
    if (!hasRoom) await this.#drained();
    return sizeBytes;
  }

  finish(stream: SpdyStream): void {
    this.#send(dataHead(stream.id, 0, { fin: true }));
    this.#forgetClosed(stream);
  }

  onTaken(stream: SpdyStream, sizeBytes: number): void {
    stream.takenBytes += sizeBytes;
    if (stream.takenBytes < limits.criStreamBufferBytes / 2 || !this.#receiving.has(stream)) return;
    stream.receiveWindowBytes += stream.takenBytes;
    this.#send(windowUpdateFrame(stream.id, stream.takenBytes));
    stream.takenBytes = 0;
  }

  #sendRoomBytes(stream: SpdyStream): number {
    return this.#peerKeepsWindows ? Math.min(stream.sendWindowBytes, this.#sendWindowBytes) : Infinity;
  }

  #leave(): void {
    this.#gone.abort(canceled('the client has left'));
    for (const stream of this.#streams.values()) stream.lose();
    this.#streams.clear();
    this.#receiving.clear();
  }

  /** False when the socket wants no more for now. */
  #send(bytes: Uint8Array): boolean {
    return this.#socket.writable ? this.#socket.write(bytes) : true;
  }

  async #drained(): Promise<void> {
    if (!this.#socket.writableNeedDrain || this.#gone.signal.aborted) return;
    await once(this.#socket, 'drain', { signal: this.#gone.signal }).catch(() => {});
  }

  async #onFrame(frame: SpdyFrame, inflater: HeaderInflater): Promise<void> {
    switch (frame.kind) {
      case 'syn-stream':
        return this.#open(frame, await inflater.read(frame.headerBlock));
      case 'headers':
        // Nothing is said in them, but the state of the compression depends on each.
        await inflater.read(frame.headerBlock);
        if (frame.fin) this.#endIncoming(frame.streamId);
        return;
      case 'data':
        return this.#onData(frame);
      case 'reset':
        this.#streams.get(frame.streamId)?.lose();
        return this.#forget(frame.streamId);
      case 'settings':
        return this.#onSettings(frame.initialWindowBytes);
      case 'window-update':
        return this.#onWindowUpdate(frame.streamId, frame.deltaBytes);
      case 'ping': {
        // Even numbers would be answers to pings of ours. A client that pings without reading waits for itself.
        if (frame.id % 2 === 1 && !this.#send(pingFrame(frame.id))) await this.#drained();
        return;
      }
      // The client opens no more streams; those that are open come to their end.
      case 'go-away':
    }
  }

  async #open(
    { streamId, fin, unidirectional }: Extract<SpdyFrame, { kind: 'syn-stream' | 'headers' }>,
    headers: SpdyHeaders,
  ): Promise<void> {
    if (streamId % 2 === 0 || streamId <= this.#lastStreamId)
      throw invalidArgument(`a client cannot open stream ${streamId} after ${this.#lastStreamId}`);
    this.#lastStreamId = streamId;
    const stream = new SpdyStream(
      { transport: this },
      { id: streamId, headers, sendWindowBytes: this.#peerStreamWindowBytes, readOnly: unidirectional },
    );
    if (this.#closing || this.#streams.size >= limits.spdyStreams || !this.#onStream(stream)) {
      if (!this.#reset(streamId, 'refused')) await this.#drained();
      return;
    }
    this.#streams.set(streamId, stream);
    this.#receiving.add(stream);
    if (!unidirectional) this.#send(replyFrame(streamId, this.#headersOut.write(replyHeaders)));
    if (fin) this.#endIncoming(streamId);
  }

  #reset(streamId: number, reason: ResetReason): boolean {
    return this.#send(resetFrame(streamId, reason));
  }

  async #onData({ streamId, frameBytes, bytes, fin }: Extract<SpdyFrame, { kind: 'data' }>): Promise<void> {
    const stream = this.#streams.get(streamId);
    if (frameBytes !== undefined) this.#checkWindows(stream, frameBytes);
    this.#receiveWindowBytes -= bytes.byteLength;
    // Streams have windows enough: that of the connection is given back at once, so that none waits for another.
    if (this.#receiveWindowBytes <= initialWindowBytes / 2) {
      this.#send(windowUpdateFrame(0, initialWindowBytes - this.#receiveWindowBytes));
      this.#receiveWindowBytes = initialWindowBytes;
    }
    if (stream === undefined) {
      if (streamId > this.#lastStreamId || streamId % 2 === 0)
        throw invalidArgument(`data for stream ${streamId}, which was never opened`);
      return;
    }
    if (!this.#receiving.has(stream))
      throw invalidArgument(`data for stream ${streamId}, which the client has closed`);
    stream.receiveWindowBytes -= bytes.byteLength;
    stream.incoming.push(bytes);
    if (fin) this.#endIncoming(streamId);
    else await stream.incoming.room();
  }

  /** Only clients that keep windows have any to break. Errors: InvalidArgument. */
  #checkWindows(stream: SpdyStream | undefined, sizeBytes: number): void {
    if (!this.#peerKeepsWindows) return;
    if (
      sizeBytes > this.#receiveWindowBytes ||
      (stream !== undefined && sizeBytes > stream.receiveWindowBytes)
    )
      throw invalidArgument(`${sizeBytes} bytes of data are more than the window has room for`);
  }

  #onSettings(windowBytes: number | undefined): void {
    if (windowBytes === undefined) return;
    this.#peerKeepsWindows = true;
    const deltaBytes = windowBytes - this.#peerStreamWindowBytes;
    this.#peerStreamWindowBytes = windowBytes;
    for (const stream of this.#streams.values()) this.#grow(stream, deltaBytes);
  }

  #onWindowUpdate(streamId: number, deltaBytes: number): void {
    this.#peerKeepsWindows = true;
    if (streamId === 0) {
      this.#sendWindowBytes += deltaBytes;
      if (this.#sendWindowBytes > maxWindowBytes)
        throw invalidArgument('a window of more than 2^31 - 1 bytes');
      for (const stream of this.#streams.values()) stream.wake();
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) this.#grow(stream, deltaBytes);
  }

  #grow(stream: SpdyStream, deltaBytes: number): void {
    stream.sendWindowBytes += deltaBytes;
    if (stream.sendWindowBytes > maxWindowBytes)
      throw invalidArgument('a window of more than 2^31 - 1 bytes');
    stream.wake();
  }

  #endIncoming(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.incoming.end();
    this.#receiving.delete(stream);
    this.#forgetClosed(stream);
  }

  #forgetClosed(stream: SpdyStream): void {
    if (stream.closed && !this.#receiving.has(stream)) this.#forget(stream.id);
  }

  #forget(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#receiving.delete(stream);
    this.#streams.delete(streamId);
  }
}
