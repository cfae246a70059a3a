/**
 * TCP ports, plain or with TLS, for servers that also take unix sockets. Whoever connects is not known by credentials
 * of the kernel, so a service that trusts its clients belongs here only behind TLS with client certificates.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { failedPrecondition, invalidArgument, unimplemented } from '../base/errors.ts';
import type { Accepted, ConnectionSource } from './unix-listener.ts';

export interface ServerTls {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** PEM of the authorities whose client certificates are asked for; "" asks for none. */
  readonly clientCa: string;
  /** The common name that a client certificate must have; "" for any. */
  readonly commonName: string;
  /** Protocol that clients must speak (ALPN). */
  readonly protocol: string;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `HOST:PORT`; IPv6 hosts in brackets, no host for all addresses. Errors: InvalidArgument. */
export function parseHostPort(text: string): HostPort {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535)
    throw invalidArgument(`${JSON.stringify(text)} is no address: write HOST:PORT, as in 127.0.0.1:1338`);
  return { host: bracketed ?? plain ?? '', port };
}

export class TcpListener implements ConnectionSource, AsyncDisposable {
  readonly #server: Server;
  readonly #early: Socket[] = [];
  #receive: ((accepted: Accepted) => void) | undefined;

  private constructor(server: Server, tls: ServerTls | undefined) {
    this.#server = server;
    server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) =>
      this.#accept(socket, tls),
    );
  }

  /** Errors: FailedPrecondition when the address cannot be had; InvalidArgument for certificates that are none. */
  static async listen({ host, port }: HostPort, tls?: ServerTls): Promise<TcpListener> {
    const server = tls === undefined ? createServer() : secureServer(tls);
    const listener = new TcpListener(server, tls);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen({ port, ...(host !== '' && { host }) }, resolve);
    try {
      await promise;
    } catch (error) {
      throw failedPrecondition(`cannot listen on ${host}:${port}: ${(error as Error).message}`, error);
    }
    server.off('error', reject);
    // One connection that cannot be taken must not end the process.
    server.on('error', () => {});
    return listener;
  }

  /** The port in use, which is not the one asked for when that was 0. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  onConnection(receive: (accepted: Accepted) => void): void {
    this.#receive = receive;
    for (const socket of this.#early.splice(0)) receive(accepted(socket));
  }

  /** Takes no more connections; those that were accepted belong to their receivers. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#early.splice(0)) socket.destroy();
    this.#server.close();
    await Promise.resolve();
  }

  #accept(socket: Socket, tls: ServerTls | undefined): void {
    if (tls !== undefined && tls.commonName !== '' && commonNameOf(socket) !== tls.commonName) {
      socket.destroy();
      return;
    }
    if (this.#receive === undefined) this.#early.push(socket);
    else this.#receive(accepted(socket));
  }
}

const accepted = (socket: Socket): Accepted => ({
  socket,
  peer: () => {
    throw unimplemented('credentials of a TCP client');
  },
});

function secureServer(tls: ServerTls): Server {
  try {
    return createTlsServer({
      cert: tls.cert,
      key: tls.key,
      ALPNProtocols: [tls.protocol],
      minVersion: 'TLSv1.2',
      ...(tls.clientCa !== '' && { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
    });
  } catch (error) {
    throw invalidArgument(`the TLS certificate or key is not good: ${(error as Error).message}`, error);
  }
}

function commonNameOf(socket: Socket): string | undefined {
  const { getPeerCertificate } = socket as { getPeerCertificate?: () => { subject?: { CN?: string } } };
  return getPeerCertificate?.call(socket).subject?.CN;
}
