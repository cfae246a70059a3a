/** A protocol that serves the echo service on a socket of its own, and a client of it. */
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Echo, type EchoService, echoService, type Seen } from './echo-service.fixture.ts';
import type { InFlightCall } from './in-flight.ts';
import type { Client, Connection, ServedService } from './service.ts';
import { type Accepted, type ConnectionSource, UnixListener } from './unix-listener.ts';

export interface ProtocolUnderTest {
  /** Serves on the listener; the result stops it and knows what is under way. */
  serve(
    services: readonly ServedService[],
    source: ConnectionSource,
  ): AsyncDisposable & { inFlight(): readonly InFlightCall[]; shutdown(graceMs: number): Promise<void> };
  connect(path: string): Promise<Connection>;
  readonly maxMessageBytes: number;
}

/** For a listener whose peers nobody asks about. */
export const noCredentials = {
  peerCredentials: (): never => {
    throw new Error('not asked for');
  },
  sendDatagram: (): never => {
    throw new Error('not asked for');
  },
};

/** A listener that remembers its sockets, so that a test can cut them. */
class RecordingSource implements ConnectionSource {
  readonly sockets: Socket[] = [];
  readonly #source: ConnectionSource;
  constructor(source: ConnectionSource) {
    this.#source = source;
  }
  onConnection(receive: (accepted: Accepted) => void): void {
    this.#source.onConnection((accepted) => {
      this.sockets.push(accepted.socket);
      receive(accepted);
    });
  }
}

export class TransportLab implements AsyncDisposable {
  readonly dir: string;
  readonly source: RecordingSource;
  readonly server: ReturnType<ProtocolUnderTest['serve']>;
  readonly echo: Client<EchoService>;
  readonly seen: Seen;
  readonly #protocol: ProtocolUnderTest;
  readonly #listener: UnixListener;
  readonly #connection: Connection;

  private constructor(parts: {
    dir: string;
    protocol: ProtocolUnderTest;
    listener: UnixListener;
    source: RecordingSource;
    server: ReturnType<ProtocolUnderTest['serve']>;
    connection: Connection;
    seen: Seen;
  }) {
    this.dir = parts.dir;
    this.source = parts.source;
    this.server = parts.server;
    this.seen = parts.seen;
    this.echo = parts.connection.client(Echo);
    this.#protocol = parts.protocol;
    this.#listener = parts.listener;
    this.#connection = parts.connection;
  }

  static async start(protocol: ProtocolUnderTest): Promise<TransportLab> {
    const seen: Seen = { ctx: undefined, produced: 0, returned: false, consumed: 0 };
    const dir = await mkdtemp(join(tmpdir(), 'gantry-wire-'));
    const listener = await UnixListener.listen({ sockets: noCredentials }, join(dir, 's'));
    const source = new RecordingSource(listener);
    const server = protocol.serve([echoService(seen)], source);
    const connection = await protocol.connect(listener.path);
    return new TransportLab({ dir, protocol, listener, source, server, connection, seen });
  }

  /** Another connection than the one that `echo` goes by. */
  connect(): Promise<Connection> {
    return this.#protocol.connect(this.#listener.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    await this.#listener.close();
    await rm(this.dir, { recursive: true });
  }
}
