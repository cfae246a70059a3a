/**
 * One call on its HTTP/2 stream, as the server sees it: messages in and out, and the status at the end.
 *
 * Two messages at most are kept unread; then the client is held back by flow control. `finish` sends the status once,
 * whoever is first: the handler, its failure, or the deadline. What a client still sends afterwards is dropped, and
 * it is told to stop.
 *
 * Packed messages are unpacked one by one as they are asked for, so order, flow control and what is held stay as they
 * are for plain ones.
 * Source: gRPC over HTTP/2, "Responses" and "HTTP2 Transport Mapping".
 */
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { internal, resourceExhausted } from '../../base/errors.ts';
import { isGzip, pack, unpack } from './compression.ts';
import { writeAll } from './flow.ts';
import { bytesOf, frameOf, MessageCutter, type PackedMessage, type WireMessage } from './message-frames.ts';

const unreadMessages = 2;

export interface ServerCallOptions {
  /** Of one message as it travels, and of what it is unpacked to. */
  readonly maxMessageBytes: number;
  /** What the client announced (compression.ts). */
  readonly encoding: string;
  /** Is told when the client gave the call up or vanished before it was finished. */
  readonly onGone: () => void;
}

export class ServerCall {
  /** The answers go out as the client packs its own messages. */
  readonly packsAnswers: boolean;
  readonly #stream: ServerHttp2Stream;
  readonly #maxMessageBytes: number;
  readonly #encoding: string;
  readonly #cutter: MessageCutter;
  #unread: WireMessage[] = [];
  #hasEnded = false;
  #failure: { readonly reason: unknown } | undefined;
  #waiting: PromiseWithResolvers<void> | undefined;
  #hasFinished = false;

  constructor(stream: ServerHttp2Stream, { maxMessageBytes, encoding, onGone }: ServerCallOptions) {
    this.#stream = stream;
    this.#maxMessageBytes = maxMessageBytes;
    this.#encoding = encoding;
    this.packsAnswers = isGzip(encoding);
    this.#cutter = new MessageCutter(maxMessageBytes);
    const gone = (): void => {
      if (!this.#hasFinished) onGone();
    };
    stream.once('aborted', gone);
    stream.once('close', gone);
    // What went wrong with the stream is told by its close.
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.once('end', () => this.#onEnd());
  }

  /** Whoever waits for a request gets `reason`. */
  fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#waiting?.resolve();
  }

  /** The message of a call that has one. Errors: Internal when there is another number of them; as `requests`. */
  async request(): Promise<Uint8Array> {
    const message = await this.#next();
    if (message === undefined) throw internal('the call carries no message');
    if ((await this.#next()) !== undefined) throw internal('the call carries more than one message');
    return message;
  }

  /**
   * Leaving early does not end the call.
   * Errors: ResourceExhausted (too large, also once unpacked), Internal (cut off, damaged, packed but not announced).
   */
  async *requests(decode: (message: Uint8Array) => unknown): AsyncGenerator<unknown, void> {
    for (let message = await this.#next(); message !== undefined; message = await this.#next())
      yield decode(message);
  }

  /** Sends `messages` as the client takes them. Errors: Canceled, DeadlineExceeded by the signal; the source's. */
  async answerAll(
    messages: AsyncIterable<unknown>,
    encode: (message: unknown) => Uint8Array,
    signal: AbortSignal,
  ): Promise<void> {
    await writeAll(this.#stream, this.#framesOf(messages, encode), signal);
  }

  /** Ends the call well, with a last message if there is one. Errors: ResourceExhausted for one that is too large. */
  succeed(message?: WireMessage): void {
    if (message === undefined) {
      this.finish(okTrailers);
      return;
    }
    const frame = this.#frameOf(message);
    if (!this.#begin()) return;
    this.#respond();
    this.#stream.end(frame);
    this.#leave();
  }

  /** Ends the call with a status, unless it has ended. */
  finish(trailers: OutgoingHttpHeaders): void {
    if (!this.#begin()) return;
    if (this.#stream.headersSent) {
      this.#trailers = trailers;
      this.#stream.end();
    } else {
      this.#stream.respond({ ...responseHeaders, ...trailers }, { endStream: true });
      this.#stopClient();
    }
    this.#leave();
  }

  #trailers: OutgoingHttpHeaders = okTrailers;

  /** False when it is too late to send a status. */
  #begin(): boolean {
    if (this.#hasFinished) return false;
    this.#hasFinished = true;
    return !this.#stream.destroyed && !this.#stream.closed;
  }

  #respond(): void {
    if (this.#stream.headersSent || this.#stream.destroyed || this.#stream.closed) return;
    this.#stream.respond(this.packsAnswers ? packedResponseHeaders : responseHeaders, {
      waitForTrailers: true,
    });
    this.#stream.once('wantTrailers', () => {
      this.#stream.sendTrailers(this.#trailers);
      this.#stopClient();
    });
  }

  /** Nothing is read any more; a client that still sends is told to stop once the status is on its way. */
  #leave(): void {
    this.#unread = [];
    this.#stream.resume();
  }

  #stopClient(): void {
    // A reset must not overtake the status, which node:http2 writes at the end of this turn.
    setImmediate(() => {
      if (!this.#stream.readableEnded && !this.#stream.closed) this.#stream.close(constants.NGHTTP2_NO_ERROR);
    });
  }

  async *#framesOf(
    messages: AsyncIterable<unknown>,
    encode: (message: unknown) => Uint8Array,
  ): AsyncGenerator<Buffer, void> {
    for await (const message of messages) {
      const bytes = encode(message);
      const frame = this.#frameOf(this.packsAnswers ? await pack(bytes) : bytes);
      this.#respond();
      yield frame;
    }
  }

  #frameOf(message: WireMessage): Buffer {
    const { byteLength } = bytesOf(message);
    if (byteLength > this.#maxMessageBytes)
      throw resourceExhausted(
        `an answer of ${byteLength} bytes is larger than the ${this.#maxMessageBytes} that may be sent`,
      );
    return frameOf(message);
  }

  #onData(chunk: Buffer): void {
    if (this.#hasFinished || this.#failure !== undefined) return;
    try {
      this.#unread.push(...this.#cutter.push(chunk));
    } catch (error) {
      this.fail(error);
      return;
    }
    if (this.#unread.length >= unreadMessages) this.#stream.pause();
    if (this.#unread.length > 0) this.#waiting?.resolve();
  }

  #onEnd(): void {
    if (this.#cutter.isInside) this.fail(internal('the request ends inside a message'));
    this.#hasEnded = true;
    this.#waiting?.resolve();
  }

  /** Undefined at the end. */
  async #next(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.reason;
      const message = this.#unread.shift();
      if (message !== undefined) return message instanceof Uint8Array ? message : this.#unpack(message);
      if (this.#hasEnded) return undefined;
      if (this.#stream.isPaused()) this.#stream.resume();
      this.#waiting = Promise.withResolvers();
      await this.#waiting.promise;
      this.#waiting = undefined;
    }
  }

  async #unpack(message: PackedMessage): Promise<Uint8Array> {
    try {
      const bytes = await unpack(message, { encoding: this.#encoding, maxBytes: this.#maxMessageBytes });
      if (this.#failure === undefined) return bytes;
    } catch (error) {
      // The call may have failed otherwise meanwhile: then that counts. What follows a bad message is not read.
      this.fail(error);
    }
    throw this.#failure?.reason;
  }
}

const responseHeaders = { ':status': 200, 'content-type': 'application/grpc' };
const packedResponseHeaders = { ...responseHeaders, 'grpc-encoding': 'gzip' };
const okTrailers: OutgoingHttpHeaders = { 'grpc-status': '0', 'grpc-message': '' };
