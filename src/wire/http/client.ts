/**
 * HTTP to registries: connections kept alive and shared by all requests with the same TLS settings and proxy.
 *
 * HTTP/1.1 only: a pull is a few large bodies side by side, which gain nothing from one multiplexed connection and
 * lose its shared flow control window; a server that speaks only HTTP/2 is not met among registries.
 * One request, one answer: redirects.ts and retry.ts go around it. Errors: Unavailable (failure.ts), Canceled.
 */
import { Readable } from 'node:stream';
import { getCACertificates } from 'node:tls';
import type * as undiciPackage from 'undici';
import type { Dispatcher } from 'undici';
import { checkSignal } from '../../base/context.ts';
import { limits } from '../../base/limits.ts';
import { requestFailed } from './failure.ts';
import type { HttpRequest, HttpResponse } from './message.ts';
import { type Environment, proxyFor } from './proxy.ts';
import { defaultTls, type TlsSettings, tlsFingerprint } from './tls.ts';

type Undici = Pick<typeof undiciPackage, 'Agent' | 'ProxyAgent'>;

export interface HttpClientOptions {
  /** Where the proxy variables are looked up; none when absent. */
  readonly env?: Environment;
  readonly userAgent: string;
  readonly connectionsPerHost?: number;
  readonly stallMs?: number;
}

/** Sets of connections that are kept; the one unused for longest is closed first. */
const keptDispatchers = 32;

export class HttpClient implements AsyncDisposable {
  readonly #options: HttpClientOptions;
  /** In order of last use. */
  readonly #dispatchers = new Map<string, Dispatcher>();

  constructor(options: HttpClientOptions) {
    this.#options = options;
  }

  /** Bound, so that it can be handed on as a `Send`. */
  readonly send = async (request: HttpRequest): Promise<HttpResponse> => {
    const { method, url, headers, body, signal } = request;
    if (signal !== undefined) checkSignal(signal);
    try {
      // Loaded with the first request: a daemon that pulls nothing keeps none of it in memory.
      const undici = await import('undici');
      const response = await this.#dispatcherFor(undici, request).request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { 'user-agent': this.#options.userAgent, ...headers },
        body:
          body === undefined || body instanceof Uint8Array
            ? (body ?? null)
            : Readable.from(body, { objectMode: false }),
        signal: signal ?? null,
      });
      return new Response(response, request);
    } catch (error) {
      if (signal !== undefined) checkSignal(signal);
      throw requestFailed(method, url, error);
    }
  };

  /** Cuts what is still on the way. */
  async [Symbol.asyncDispose](): Promise<void> {
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  #dispatcherFor(
    undici: Undici,
    { url, tls = defaultTls, dialTimeoutMs = limits.registryDialMs }: HttpRequest,
  ): Dispatcher {
    const proxy = proxyFor(url, this.#options.env ?? {});
    const secure = url.protocol === 'https:';
    const key = `${secure ? tlsFingerprint(tls) : 'plain'} ${dialTimeoutMs} ${proxy?.href ?? ''}`;
    const dispatcher =
      this.#dispatchers.get(key) ??
      this.#makeDispatcher(undici, secure ? tls : undefined, dialTimeoutMs, proxy);
    this.#dispatchers.delete(key);
    this.#dispatchers.set(key, dispatcher);
    this.#closeUnused();
    return dispatcher;
  }

  #closeUnused(): void {
    const [oldest] = this.#dispatchers;
    if (oldest === undefined || this.#dispatchers.size <= keptDispatchers) return;
    this.#dispatchers.delete(oldest[0]);
    // Lets what is under way finish; a failure to close has nobody left to tell.
    oldest[1].close().catch(() => {});
  }

  #makeDispatcher(
    { Agent, ProxyAgent }: Undici,
    tls: TlsSettings | undefined,
    dialTimeoutMs: number,
    proxy: URL | undefined,
  ): Dispatcher {
    const stallMs = this.#options.stallMs ?? limits.registryStallMs;
    const common = {
      connections: this.#options.connectionsPerHost ?? limits.registryConnections,
      headersTimeout: stallMs,
      bodyTimeout: stallMs,
      allowH2: false,
    };
    const connect = { ...(tls && connectOptions(tls)), timeout: dialTimeoutMs };
    return proxy === undefined
      ? new Agent({ ...common, connect })
      : new ProxyAgent({ ...common, uri: proxy.href, requestTls: connect });
  }
}

let authorities: readonly string[] | undefined;

/** Node's list and the machine's own, where administrators add theirs; read once, at the first TLS connection. */
function trustedAuthorities(): readonly string[] {
  authorities ??= [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
  return authorities;
}

function connectOptions(tls: TlsSettings): Record<string, unknown> {
  return {
    ca: [...trustedAuthorities(), ...tls.ca],
    ...(tls.clients.length > 0 && {
      cert: tls.clients.map(({ cert }) => cert),
      key: tls.clients.map(({ key }) => key),
    }),
    ...(tls.skipVerify && { rejectUnauthorized: false }),
  };
}

class Response implements HttpResponse {
  readonly status: number;
  readonly url: URL;
  readonly #response: Dispatcher.ResponseData;
  readonly #request: HttpRequest;

  constructor(response: Dispatcher.ResponseData, request: HttpRequest) {
    this.status = response.statusCode;
    this.url = request.url;
    this.#response = response;
    this.#request = request;
    // A body that breaks before anybody reads it must not end the process.
    response.body.on('error', () => {});
  }

  header(name: string): string | undefined {
    return this.headerValues(name)[0];
  }

  headerValues(name: string): readonly string[] {
    const value = this.#response.headers[name];
    return value === undefined ? [] : Array.isArray(value) ? value : [value];
  }

  get body(): AsyncIterable<Uint8Array> {
    return this.#read();
  }

  async *#read(): AsyncGenerator<Uint8Array, void> {
    const { signal, method, url } = this.#request;
    try {
      for await (const chunk of this.#response.body) yield chunk as Uint8Array;
    } catch (error) {
      if (signal !== undefined) checkSignal(signal);
      throw requestFailed(`reading the answer to ${method}`, url, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { body } = this.#response;
    if (!body.readableEnded && !body.destroyed) body.destroy();
    await Promise.resolve();
  }
}
