/**
 * An HTTP server whose requests all ask for another protocol on their connection: it reads the head of a request, lets
 * a handler decide, and gives the connection away or answers with a refusal and ends it. Bodies are never read.
 */
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { raceTime } from '../../base/bounded-wait.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import type { ConnectionSource } from '../unix-listener.ts';

export interface UpgradeRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Names in lower case; fields that came more than once are joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface Refusal {
  readonly status: number;
  /** For people. */
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Upgrade {
  /** Of the answer 101, with `Upgrade` among them. */
  readonly headers: Readonly<Record<string, string>>;
  /** The connection belongs to it until it settles; then what was written is sent, and the connection cut. */
  readonly serve: (connection: Duplex) => Promise<void>;
}

/** Sees each request once, also those that ask for no upgrade: these it must refuse. */
export type UpgradeHandler = (request: UpgradeRequest) => Upgrade | Refusal;

export interface UpgradeServerOptions {
  /** Open connections; one more is cut. */
  readonly maxConnections: number;
  /** An upgraded connection on which nothing moves for so long is cut. */
  readonly idleMs: number;
}

export class UpgradeServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #log: Logger;
  readonly #handler: UpgradeHandler;
  readonly #options: UpgradeServerOptions;
  /** Open connections with what cuts them before they are upgraded. */
  readonly #connections = new Map<Duplex, NodeJS.Timeout>();
  readonly #sessions = new Set<Promise<void>>();

  constructor(
    { log, handler }: { readonly log: Logger; readonly handler: UpgradeHandler },
    options: UpgradeServerOptions,
  ) {
    this.#log = log;
    this.#handler = handler;
    this.#options = options;
    this.#server = createServer({ maxHeaderSize: limits.httpServerHeaderBytes });
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#onUpgrade(request, socket, head),
    );
    this.#server.on('request', (request, response) => {
      const answer = this.#ask(request);
      const refusal = 'serve' in answer ? notAsked : answer;
      response.writeHead(refusal.status, headersOf(refusal)).end(`${refusal.text}\n`);
    });
  }

  attach(source: ConnectionSource): void {
    source.onConnection(({ socket }) => {
      if (this.#connections.size >= this.#options.maxConnections) {
        this.#log.warn({ open: this.#connections.size }, 'a connection is refused: too many are open');
        socket.destroy();
        return;
      }
      const deadline = setTimeout(() => socket.destroy(), limits.httpServerRequestMs).unref();
      this.#connections.set(socket, deadline);
      socket.once('close', () => {
        clearTimeout(this.#connections.get(socket));
        this.#connections.delete(socket);
      });
      this.#server.emit('connection', socket);
    });
  }

  /** Cuts what is open and waits, in bounded time, for those who serve it. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#connections.keys()) socket.destroy();
    const ended = await raceTime(Promise.all(this.#sessions), limits.cleanupMs);
    if (ended === undefined)
      this.#log.warn({ sessions: this.#sessions.size }, 'streaming sessions do not come to their end');
  }

  #ask(request: IncomingMessage): Upgrade | Refusal {
    const { url = '/', method = '' } = request;
    const target = URL.parse(url.startsWith('/') ? `http://localhost${url}` : url);
    if (target === null) return { status: 400, text: `the request target ${JSON.stringify(url)} is no path` };
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    return this.#handler({ method, path: target.pathname, headers });
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Whoever serves the connection sees its end; the error is the same news once more.
    socket.on('error', (error) => this.#log.debug({ error }, 'a streaming connection broke'));
    const answer = this.#ask(request);
    if (!('serve' in answer)) {
      socket.end(headOf(answer.status, headersOf(answer)) + `${answer.text}\n`);
      return;
    }
    clearTimeout(this.#connections.get(socket));
    const { idleMs } = this.#options;
    (socket as Socket).setTimeout(idleMs, () => socket.destroy());
    (socket as Socket).setNoDelay();
    socket.write(headOf(101, { connection: 'Upgrade', ...answer.headers }));
    if (head.byteLength > 0) socket.unshift(head);
    const session = this.#serve(answer, socket);
    this.#sessions.add(session);
    void session.finally(() => this.#sessions.delete(session));
  }

  /** Never rejects. */
  async #serve({ serve }: Upgrade, socket: Duplex): Promise<void> {
    try {
      await serve(socket);
    } catch (error) {
      this.#log.debug({ error }, 'a streaming session failed');
    } finally {
      (socket as Socket).destroySoon();
    }
  }
}

const notAsked: Refusal = { status: 400, text: 'the request asks for no upgrade of its connection' };

const headersOf = ({ text, headers }: Refusal): Record<string, string> => ({
  'content-type': 'text/plain; charset=utf-8',
  'content-length': String(Buffer.byteLength(text) + 1),
  connection: 'close',
  ...headers,
});

function headOf(status: number, headers: Readonly<Record<string, string>>): string {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${fields.join('')}\r\n`;
}
