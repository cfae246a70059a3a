/**
 * Frames over a socket, for both ends of a ttrpc connection. The socket belongs to the channel.
 *
 * Reading can be paused, which is all the flow control there is in ttrpc; a writer of many frames waits for `drained`.
 * A connection that ends inside a frame, or fails, is closed like one that ends well: the peer is gone either way.
 */
import type { Duplex } from 'node:stream';
import { raceSignal } from '../../base/bounded-wait.ts';
import { unavailable } from '../../base/errors.ts';
import { encodeFrame, type Frame, FrameParser, type Parsed } from './frame.ts';

export const connectionLost = (): Error => unavailable('ttrpc: closed');

export interface ChannelReceiver {
  onParsed(parsed: Parsed): void;
  /** Once, when no more frames come or can be sent. */
  onClosed(): void;
}

export class FrameChannel {
  readonly closed: Promise<void>;
  readonly #socket: Duplex;
  readonly #parser = new FrameParser();
  #drained: Promise<void> | undefined;
  /** How many streams have asked for a pause. */
  #pauses = 0;

  constructor(socket: Duplex, receiver: ChannelReceiver) {
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    socket.on('data', (chunk: Buffer) => {
      for (const parsed of this.#parser.push(chunk)) receiver.onParsed(parsed);
    });
    socket.on('end', () => socket.destroy());
    // 'close' follows and says all there is to say: the peer has gone.
    socket.on('error', () => {});
    const onClose = (): void => {
      receiver.onClosed();
      resolve();
    };
    if (socket.destroyed) queueMicrotask(onClose);
    else socket.once('close', onClose);
  }

  /** Queues a frame. Errors: Unavailable when closed, ResourceExhausted when it is too large. */
  send(frame: Frame): void {
    const bytes = encodeFrame(frame);
    if (this.#socket.destroyed || !this.#socket.writable) throw connectionLost();
    this.#socket.write(bytes);
  }

  /** Resolves at once unless more is queued than the socket likes. Errors: Unavailable, or the signal's. */
  async drained(signal: AbortSignal): Promise<void> {
    if (!this.#socket.writableNeedDrain) return;
    this.#drained ??= new Promise<void>((resolve) => {
      const done = (): void => {
        this.#socket.off('drain', done);
        this.#socket.off('close', done);
        this.#drained = undefined;
        resolve();
      };
      this.#socket.once('drain', done);
      this.#socket.once('close', done);
    });
    await raceSignal(this.#drained, signal);
    if (this.#socket.destroyed) throw connectionLost();
  }

  pause(): void {
    this.#pauses += 1;
    this.#socket.pause();
  }

  /** Undoes one `pause`. */
  resume(): void {
    this.#pauses -= 1;
    if (this.#pauses === 0) this.#socket.resume();
  }

  /** Lets what is queued go out first. */
  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
