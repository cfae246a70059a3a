/**
 * A small HTTP server for what administrators ask with a browser, curl or Prometheus: GET on a fixed set of paths, over
 * connections that listeners give it. Every answer ends its request; nothing of a request but path and query is read.
 *
 * Node's own timeouts work only in a server that listens itself, so each connection has one deadline here: for its next
 * request, or for the answer that is under way.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ContainerdError, canceled, hasCode, invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import type { ConnectionSource } from '../unix-listener.ts';

export interface PageRequest {
  readonly query: URLSearchParams;
  /** Fires when the client has gone. */
  readonly signal: AbortSignal;
}

export interface Page {
  readonly contentType: string;
  readonly body: string | AsyncIterable<string | Uint8Array>;
  /** Name for a client that saves it. */
  readonly fileName?: string;
}

/** Errors: InvalidArgument answers 400, FailedPrecondition 409, Unimplemented 501, everything else 500. */
export type PageHandler = (request: PageRequest) => Page | Promise<Page>;

export class HttpServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #log: Logger;
  readonly #pages: ReadonlyMap<string, PageHandler>;
  /** Open connections with what cuts them at their deadline. */
  readonly #connections = new Map<Socket, NodeJS.Timeout>();

  /** `pages` by path, without a query. */
  constructor({ log, pages }: { readonly log: Logger; readonly pages: ReadonlyMap<string, PageHandler> }) {
    this.#log = log;
    this.#pages = pages;
    this.#server = createServer({ maxHeaderSize: limits.httpServerHeaderBytes });
    this.#server.on('request', (request, response) => void this.#onRequest(request, response));
  }

  attach(source: ConnectionSource): void {
    source.onConnection(({ socket }) => {
      if (this.#connections.size >= limits.httpServerConnections) {
        this.#log.warn(
          { open: this.#connections.size },
          'a connection over HTTP is refused: too many are open',
        );
        socket.destroy();
        return;
      }
      socket.once('close', () => {
        clearTimeout(this.#connections.get(socket));
        this.#connections.delete(socket);
      });
      this.#setDeadline(socket, limits.httpServerRequestMs);
      this.#server.emit('connection', socket);
    });
  }

  /** Cuts what is still on its way. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#connections.keys()) socket.destroy();
    await Promise.resolve();
  }

  #setDeadline(socket: Socket, ms: number): void {
    if (socket.destroyed) return;
    clearTimeout(this.#connections.get(socket));
    this.#connections.set(socket, setTimeout(() => socket.destroy(), ms).unref());
  }

  /** Never rejects: nobody waits for it. */
  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    this.#setDeadline(request.socket, limits.httpServerAnswerMs);
    response.once('close', () => {
      gone.abort(canceled('the client has gone'));
      this.#setDeadline(request.socket, limits.httpServerRequestMs);
    });
    const { url = '/', method } = request;
    try {
      const { pathname, searchParams } = parseTarget(url);
      const page = this.#pages.get(pathname);
      if (page === undefined) return refuse(response, 404, `nothing is at ${pathname}`);
      if (method !== 'GET') return refuse(response, 405, 'only GET is answered here');
      await send(response, await page({ query: searchParams, signal: gone.signal }), gone.signal);
    } catch (error) {
      this.#log.debug({ error, url }, 'request failed');
      // Half an answer must not look like a whole one.
      if (response.headersSent) response.destroy();
      else refuse(response, statusOf(error), ContainerdError.from(error).message);
    }
  }
}

/** The request target (RFC 9112, section 3.2). Errors: InvalidArgument. */
function parseTarget(target: string): URL {
  const parsed = URL.parse(target.startsWith('/') ? `http://localhost${target}` : target);
  if (parsed === null) throw invalidArgument(`the request target ${JSON.stringify(target)} is no path`);
  return parsed;
}

const statuses = [
  ['InvalidArgument', 400],
  ['FailedPrecondition', 409],
  ['Unimplemented', 501],
] as const;

const statusOf = (error: unknown): number => statuses.find(([code]) => hasCode(error, code))?.[1] ?? 500;

function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
}

async function send(response: ServerResponse, page: Page, signal: AbortSignal): Promise<void> {
  const { body, contentType, fileName } = page;
  const headers = {
    'content-type': contentType,
    'x-content-type-options': 'nosniff',
    ...(fileName !== undefined && { 'content-disposition': `attachment; filename="${fileName}"` }),
  };
  if (typeof body === 'string') {
    response.writeHead(200, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
    return;
  }
  response.writeHead(200, headers);
  for await (const chunk of body) {
    if (response.write(chunk)) continue;
    const { promise, resolve } = Promise.withResolvers<void>();
    response.once('drain', resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
    signal.throwIfAborted();
  }
  response.end();
}
