/** A request to a registry and its answer, as every file of this folder passes them on. */
import type { TlsSettings } from './tls.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes can be sent again after a failure; a stream (with `content-length` in the headers) cannot. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly tls?: TlsSettings;
  readonly dialTimeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * An answer whose body is still on the way. The caller owns it: read the body to its end, or dispose, or the
 * connection stays taken.
 */
export interface HttpResponse extends AsyncDisposable {
  readonly status: number;
  /** Where it came from in the end, after redirects. */
  readonly url: URL;
  /** First value of a header; name in lower case. */
  header(name: string): string | undefined;
  /** All values of a header. */
  headerValues(name: string): readonly string[];
  /** Can be read once. Errors: Unavailable when the connection breaks or falls silent. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** One exchange: a client, or a client with retries and redirects around it. */
export type Send = (request: HttpRequest) => Promise<HttpResponse>;
