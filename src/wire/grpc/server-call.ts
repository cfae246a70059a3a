/**
 * One call on its HTTP/2 stream, as the server sees it: messages in and out, and the status at the end.
 *
 * Two messages at most are kept unread; then the client is held back by flow control. `finish` sends the status once,
 * whoever is first: the handler, its failure, or the deadline. What a client still sends afterwards is dropped, and
 * it is told to stop.
 * Source: gRPC over HTTP/2, "Responses" and "HTTP2 Transport Mapping".
 */
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { internal, resourceExhausted } from '../../base/errors.ts';
import { writeAll } from './flow.ts';
import { frameOf, MessageCutter } from './message-frames.ts';

const unreadMessages = 2;

export class ServerCall {
  readonly #stream: ServerHttp2Stream;
  readonly #maxMessageBytes: number;
  readonly #cutter: MessageCutter;
  #unread: Uint8Array[] = [];
  #hasEnded = false;
  #failure: { readonly reason: unknown } | undefined;
  #waiting: PromiseWithResolvers<void> | undefined;
  #hasFinished = false;

  /** `onGone` is told when the client gave the call up or vanished before it was finished. */
  constructor(
    stream: ServerHttp2Stream,
    { maxMessageBytes, onGone }: { readonly maxMessageBytes: number; readonly onGone: () => void },
  ) {
    this.#stream = stream;
    this.#maxMessageBytes = maxMessageBytes;
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

  /** Leaving early does not end the call. Errors: ResourceExhausted, Unimplemented (compressed), Internal (cut off). */
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
  succeed(message?: Uint8Array): void {
    const frame = message === undefined ? undefined : this.#frameOf(message);
    if (!this.#begin()) return;
    this.#respond();
    if (frame === undefined) this.#stream.end();
    else this.#stream.end(frame);
    this.#leave();
  }

  /** Ends the call with a status that is not OK, unless it has ended. */
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
    this.#stream.respond(responseHeaders, { waitForTrailers: true });
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
      const frame = this.#frameOf(encode(message));
      this.#respond();
      yield frame;
    }
  }

  #frameOf(message: Uint8Array): Buffer {
    if (message.byteLength > this.#maxMessageBytes)
      throw resourceExhausted(
        `an answer of ${message.byteLength} bytes is larger than the ${this.#maxMessageBytes} that may be sent`,
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
      if (message !== undefined) return message;
      if (this.#hasEnded) return undefined;
      if (this.#stream.isPaused()) this.#stream.resume();
      this.#waiting = Promise.withResolvers();
      await this.#waiting.promise;
      this.#waiting = undefined;
    }
  }
}

const responseHeaders = { ':status': 200, 'content-type': 'application/grpc' };
const okTrailers: OutgoingHttpHeaders = { 'grpc-status': '0', 'grpc-message': '' };
