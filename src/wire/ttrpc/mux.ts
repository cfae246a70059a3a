/**
 * Several logical connections over one: NRI's way to call and be called over a single socket.
 *
 * Opening a connection says nothing to the peer: both ends know which ids they use. What comes for an id that is not
 * open is dropped. When a reader is slow the socket is not read on, which holds the connections beside it back too: a
 * bounded time, as ttrpc's inboxes see to it. A peer that breaks the framing loses the socket.
 *
 * Differs from NRI's own: a slow reader is waited for, where the other end closes everything at the 257th frame.
 */
import { Duplex } from 'node:stream';
import { encodeMux, MuxParser } from './mux-frame.ts';

/** Ids of NRI: 0 is reserved. */
export const muxConnections = { plugin: 1, runtime: 2 } as const;

export class Mux {
  /** Resolves when the socket is closed. */
  readonly closed: Promise<void>;
  readonly #trunk: Duplex;
  readonly #parser = new MuxParser();
  readonly #connections = new Map<number, MuxConnection>();
  readonly #full = new Set<number>();

  /** `trunk` is connected and belongs to the mux from here on. */
  constructor(trunk: Duplex) {
    this.#trunk = trunk;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    // 'close' follows and says all there is to say.
    trunk.on('error', () => {});
    trunk.on('end', () => trunk.destroy());
    trunk.on('data', (chunk: Buffer) => this.#onData(chunk));
    const onClose = (): void => {
      for (const connection of this.#connections.values()) connection.destroy();
      resolve();
    };
    if (trunk.destroyed) queueMicrotask(onClose);
    else trunk.once('close', onClose);
  }

  /** The connection of `id`, which is opened once. Open all in the turn in which the mux is made, or bytes are lost. */
  open(id: number): Duplex {
    const connection = new MuxConnection({
      send: (bytes, done) => this.#trunk.write(encodeMux(id, bytes), done),
      wanted: () => this.#onWanted(id),
    });
    this.#connections.set(id, connection);
    if (this.#trunk.destroyed) connection.destroy();
    return connection;
  }

  /** Closes all connections. */
  destroy(): void {
    this.#trunk.destroy();
  }

  #onData(chunk: Buffer): void {
    try {
      for (const { connectionId, bytes } of this.#parser.push(chunk)) {
        const connection = this.#connections.get(connectionId);
        if (connection === undefined || connection.destroyed || connection.push(bytes)) continue;
        this.#full.add(connectionId);
        this.#trunk.pause();
      }
    } catch {
      this.#trunk.destroy();
    }
  }

  #onWanted(id: number): void {
    if (this.#full.delete(id) && this.#full.size === 0) this.#trunk.resume();
  }
}

interface MuxConnectionEnds {
  send(bytes: Buffer, done: (error?: Error | null) => void): void;
  /** It is read on. */
  wanted(): void;
}

class MuxConnection extends Duplex {
  readonly #ends: MuxConnectionEnds;

  constructor(ends: MuxConnectionEnds) {
    super({ allowHalfOpen: true });
    this.#ends = ends;
  }

  override _read(): void {
    this.#ends.wanted();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#ends.send(bytes, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // A reader that has gone holds nobody back.
    this.#ends.wanted();
    done(error);
  }
}
