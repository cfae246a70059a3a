/** One stream that the client has opened, with its two windows. */
import { type Deferred, deferred } from '../../../base/deferred.ts';
import { canceled } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import { Inlet } from '../inlet.ts';
import type { ByteSink } from '../streaming-runtime.ts';
import type { SpdyHeaders } from './header-block.ts';

/** What a stream needs of its connection. */
export interface StreamTransport {
  /** Whether both windows have room. */
  canSend(stream: SpdyStream): boolean;
  /**
   * Sends no more than both windows have room for, and there must be some; answers how much that was, once the socket
   * has room again.
   */
  sendData(stream: SpdyStream, bytes: Uint8Array): Promise<number>;
  /** The stream sends nothing more. */
  finish(stream: SpdyStream): void;
  /** The reader has done with so much. */
  onTaken(stream: SpdyStream, sizeBytes: number): void;
}

export class SpdyStream implements ByteSink {
  readonly id: number;
  readonly headers: SpdyHeaders;
  /** Ends with the client's half, also when the client resets the stream or leaves; `signal` tells these. */
  readonly incoming: Inlet;
  /** What the client may still send… */
  receiveWindowBytes: number = limits.criStreamBufferBytes;
  /** …what of it was read and not given back to it yet… */
  takenBytes = 0;
  /** …and what we may send. */
  sendWindowBytes: number;
  readonly #transport: StreamTransport;
  readonly #gone = new AbortController();
  #closed: boolean;
  #room: Deferred | undefined;

  constructor(
    { transport }: { readonly transport: StreamTransport },
    options: {
      readonly id: number;
      readonly headers: SpdyHeaders;
      readonly sendWindowBytes: number;
      readonly readOnly: boolean;
    },
  ) {
    this.#transport = transport;
    this.id = options.id;
    this.headers = options.headers;
    this.sendWindowBytes = options.sendWindowBytes;
    this.#closed = options.readOnly;
    this.incoming = new Inlet((sizeBytes) => transport.onTaken(this, sizeBytes));
  }

  /** Fires with Canceled when the client resets the stream or leaves. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Our half. */
  get closed(): boolean {
    return this.#closed;
  }

  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.byteLength > 0) {
      if (this.#gone.signal.aborted || this.#closed) throw canceled('the client does not take more of it');
      // Nothing may come between asking for room and waiting for it.
      if (this.#transport.canSend(this)) rest = rest.subarray(await this.#transport.sendData(this, rest));
      else await this.#window();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#transport.finish(this);
  }

  /** The client resets the stream or has left. */
  lose(): void {
    this.#closed = true;
    this.#gone.abort(canceled('the client has left'));
    this.incoming.end();
    this.wake();
  }

  /** A window has grown. */
  wake(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  async #window(): Promise<void> {
    this.#room ??= deferred();
    await this.#room.promise;
  }
}
