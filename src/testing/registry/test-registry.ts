/**
 * A registry within the test's own process: the distribution API over node:http, with access control, redirects to
 * another port, and faults on demand. What it was asked is kept for the test to look at.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { AccessControl, type RegistryAuth } from './registry-auth.ts';
import { type FaultEffect, FaultPlan } from './registry-faults.ts';
import { RegistryRoutes } from './registry-routes.ts';
import { RegistryStorage } from './registry-storage.ts';

export interface TestRegistryOptions {
  readonly auth?: RegistryAuth;
  /** Blobs are answered with a redirect to a second server on another port. */
  readonly redirectBlobs?: boolean;
  /** PEM; https when given. `clientCa` demands a client certificate. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** Answers without Docker-Content-Digest, as some registries do. */
  readonly omitDigests?: boolean;
  /** Ignores Range. */
  readonly omitRanges?: boolean;
}

export interface SeenRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** Arrived at the second server. */
  readonly redirected: boolean;
}

export class TestRegistry implements AsyncDisposable {
  readonly storage = new RegistryStorage();
  readonly faults = new FaultPlan();
  readonly access: AccessControl;
  readonly requests: SeenRequest[] = [];
  readonly options: TestRegistryOptions;
  readonly #server: Server;
  readonly #mirror: Server;
  readonly #routes: RegistryRoutes;

  /** Listening on loopback when it resolves. */
  static async start(options: TestRegistryOptions = {}): Promise<TestRegistry> {
    const registry = new TestRegistry(options);
    await Promise.all([listen(registry.#server), listen(registry.#mirror)]);
    return registry;
  }

  private constructor(options: TestRegistryOptions) {
    this.options = options;
    this.access = new AccessControl(options.auth ?? { kind: 'none' });
    const main = this.#handler(false);
    const { tls } = options;
    this.#server =
      tls === undefined
        ? createServer(main)
        : createTlsServer(
            {
              cert: tls.cert,
              key: tls.key,
              ...(tls.clientCa !== undefined && {
                ca: tls.clientCa,
                requestCert: true,
                rejectUnauthorized: true,
              }),
            },
            main,
          );
    this.#mirror = createServer(this.#handler(true));
    this.#routes = new RegistryRoutes(this.storage, {
      ...(options.redirectBlobs === true && { blobsAt: () => `http://127.0.0.1:${portOf(this.#mirror)}` }),
      omitDigests: options.omitDigests === true,
      omitRanges: options.omitRanges === true,
    });
  }

  /** `127.0.0.1:port`, as a reference has it. */
  get host(): string {
    return `127.0.0.1:${portOf(this.#server)}`;
  }

  get url(): string {
    return `${this.options.tls === undefined ? 'http' : 'https'}://${this.host}`;
  }

  /** `GET /v2/…` and so on, without query, in order of arrival. */
  seen(): string[] {
    return this.requests.map(({ method, path }) => `${method} ${path.split('?', 1)[0]}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([close(this.#server), close(this.#mirror)]);
  }

  #redirects(method: string, path: string): boolean {
    return this.options.redirectBlobs === true && method === 'GET' && path.includes('/blobs/');
  }

  #handler(redirected: boolean): (request: IncomingMessage, response: ServerResponse) => void {
    return (request, response) => {
      this.#serve(request, response, redirected).catch(() => response.destroy());
    };
  }

  async #serve(request: IncomingMessage, response: ServerResponse, redirected: boolean): Promise<void> {
    const { method = 'GET', url: path = '/', headers } = request;
    this.requests.push({ method, path, headers, redirected });
    const url = new URL(path, this.url);
    // A redirected blob is the answer to the same wish: its fault waits for the server that has the bytes.
    const isRedirect = !redirected && this.#redirects(method, path);
    const effect = isRedirect ? undefined : this.faults.take(method, path);
    if (effect?.kind === 'reset') {
      request.socket.destroy();
      return;
    }
    if (effect?.kind === 'status') {
      response.writeHead(effect.status, effect.headers).end(effect.body);
      return;
    }
    const body = await readAll(request);
    if (url.pathname === '/token') {
      this.access.serveToken(request, response, url, body);
      return;
    }
    const route = this.#routes.match(method, url);
    if (!redirected && !this.access.admit(request, response, this.url, route.scope)) return;
    const answer = route.answer({ request, body, redirected });
    const changed = effect?.kind === 'header' ? { ...answer.headers, ...effect.headers } : answer.headers;
    response.writeHead(answer.status, { 'content-length': String(answer.body.byteLength), ...changed });
    await sendBody(response, method === 'HEAD' ? Buffer.alloc(0) : answer.body, effect);
  }
}

async function sendBody(
  response: ServerResponse,
  body: Buffer,
  effect: FaultEffect | undefined,
): Promise<void> {
  if (effect?.kind === 'corrupt') {
    response.end(body.map((byte) => byte ^ 0xff));
    return;
  }
  if (effect?.kind === 'cut' || effect?.kind === 'hold') {
    await new Promise<void>((sent) => {
      response.write(body.subarray(0, effect.afterBytes), () => sent());
    });
    if (effect.kind === 'cut') {
      response.destroy();
      return;
    }
    effect.reached.resolve();
    await effect.release.promise;
    response.end(body.subarray(effect.afterBytes));
    return;
  }
  response.end(body);
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

const listen = (server: Server): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
