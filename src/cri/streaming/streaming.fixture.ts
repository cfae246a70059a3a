/** A streaming server over a runtime that tests write themselves, with clients: raw HTTP, spdy-transport, ws. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type ClientOptions, WebSocket } from 'ws';
import { unimplemented } from '../../base/errors.ts';
import { silentLogger } from '../../base/logger.ts';
import type { CommandRequest, StreamingRuntime, StreamSelection } from './streaming-runtime.ts';
import { StreamingServer, type StreamingServerOptions } from './streaming-server.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Of a refusal. */
  readonly body: string;
}

export interface Upgraded {
  readonly headers: IncomingHttpHeaders;
  readonly socket: Socket;
}

/** Of the package spdy-transport, which has no types. */
export interface SpdyPeer {
  request(
    uri: { method: string; path: string; headers: Record<string, string> },
    callback: (error: Error | null, stream: SpdyPeerStream) => void,
  ): SpdyPeerStream;
  ping(callback: () => void): void;
  end(): void;
  on(event: 'error' | 'close' | 'frame', listener: (value: never) => void): this;
}

export interface SpdyPeerStream extends Duplex {
  readonly id: number;
  abort(): void;
}

interface SpdyTransport {
  readonly connection: {
    create(
      socket: Socket,
      options: { protocol: 'spdy'; isServer: boolean; windowSize?: number },
    ): SpdyPeer & { start(version: number): void };
  };
}

const spdyTransport = createRequire(import.meta.url)('spdy-transport') as SpdyTransport;

const nothing: StreamingRuntime = {
  exec: async () => Promise.reject(unimplemented('exec')),
  attach: async () => Promise.reject(unimplemented('attach')),
  portForward: async () => Promise.reject(unimplemented('port-forward')),
};

export class StreamingFixture implements AsyncDisposable {
  readonly server: StreamingServer;
  readonly #sockets = new Set<{ destroy(): void }>();

  private constructor(server: StreamingServer) {
    this.server = server;
  }

  static async make(
    runtime: Partial<StreamingRuntime> = {},
    options: Partial<StreamingServerOptions> = {},
  ): Promise<StreamingFixture> {
    const server = await StreamingServer.listen(
      { log: silentLogger, runtime: { ...nothing, ...runtime } },
      { host: '127.0.0.1', port: 0, ...options },
    );
    return new StreamingFixture(server);
  }

  exec(selection: Partial<CommandRequest> = {}): string {
    return this.server.exec({ ...command, ...selection });
  }

  attach(selection: Partial<StreamSelection> = {}): string {
    const { cmd: _cmd, ...rest } = command;
    return this.server.attach({ ...rest, ...selection });
  }

  /** What an HTTP request is answered, when that is no upgrade. */
  async ask(url: string, headers: Record<string, string> = {}, method = 'POST'): Promise<Answer> {
    const answer = await this.#request(url, headers, method);
    assert.ok('body' in answer, 'the upgrade was not refused');
    return answer;
  }

  /** A connection that was upgraded. */
  async upgrade(url: string, headers: Record<string, string>, method = 'POST'): Promise<Upgraded> {
    const answer = await this.#request(url, headers, method);
    assert.ok('socket' in answer, `refused: ${JSON.stringify(answer)}`);
    return answer;
  }

  async spdyUpgrade(url: string, protocol = 'v4.channel.k8s.io'): Promise<Upgraded> {
    const headers = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': protocol };
    return this.upgrade(url, headers);
  }

  async spdy(url: string, protocol?: string, windowSize?: number): Promise<SpdyPeer & { socket: Socket }> {
    const { socket } = await this.spdyUpgrade(url, protocol);
    const peer = spdyTransport.connection.create(socket, {
      protocol: 'spdy',
      isServer: false,
      ...(windowSize !== undefined && { windowSize }),
    });
    peer.on('error', () => {});
    peer.start(3.1);
    return Object.assign(peer, { socket });
  }

  webSocket(
    url: string,
    protocols: string[] = ['v4.channel.k8s.io'],
    options: ClientOptions = {},
  ): WebSocket {
    const socket = new WebSocket(url.replace(/^http/, 'ws'), protocols, options);
    this.#sockets.add({ destroy: () => socket.terminate() });
    socket.on('error', () => {});
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.server[Symbol.asyncDispose]();
  }

  async #request(url: string, headers: Record<string, string>, method: string): Promise<Answer | Upgraded> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer | Upgraded>();
    const send = url.startsWith('https:') ? httpsRequest : httpRequest;
    // Test certificates are signed by nobody.
    const request = send(url, { method, headers, agent: false, ...{ rejectUnauthorized: false } });
    request.once('upgrade', (response, socket, head) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      if (head.byteLength > 0) socket.unshift(head);
      resolve({ headers: response.headers, socket });
    });
    request.once('response', (response) => {
      void text(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      );
    });
    request.once('error', reject);
    request.end();
    return promise;
  }
}

const command: CommandRequest = {
  containerId: 'c1',
  cmd: ['sh', '-c', 'true'],
  tty: false,
  stdin: true,
  stdout: true,
  stderr: true,
};

/** Opens a stream of the given type, and waits until the server has it. */
export async function openStream(
  peer: SpdyPeer,
  streamType: string,
  headers: Record<string, string> = {},
): Promise<SpdyPeerStream> {
  const { promise, resolve, reject } = Promise.withResolvers<SpdyPeerStream>();
  const stream = peer.request({ method: 'POST', path: '/', headers: { streamType, ...headers } }, (error) => {
    if (error !== null) reject(error);
  });
  stream.on('error', reject);
  stream.once('response', () => resolve(stream));
  return promise;
}

/** All that is readable from now on until the server's half ends, as text. */
export async function all(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks).toString();
}

/** Messages of a WebSocket until it closes, by channel, and the code it closed with. */
export async function channelsOf(
  socket: WebSocket,
  { base64 = false } = {},
): Promise<{
  readonly code: number;
  readonly channels: ReadonlyMap<number, string>;
  readonly first: string;
}> {
  const parts = new Map<number, Buffer[]>();
  let first: string | undefined;
  socket.on('message', (data) => {
    const message = data as Buffer;
    first ??= message.toString('latin1');
    const channel = (message[0] ?? 0) - (base64 ? 0x30 : 0);
    const bytes = base64 ? Buffer.from(message.toString('latin1', 1), 'base64') : message.subarray(1);
    parts.set(channel, [...(parts.get(channel) ?? []), bytes]);
  });
  const { promise, resolve } = Promise.withResolvers<number>();
  socket.once('close', resolve);
  const code = await promise;
  const channels = new Map(
    [...parts].map(([channel, chunks]): [number, string] => [channel, Buffer.concat(chunks).toString()]),
  );
  return { code, channels, first: first ?? '' };
}
