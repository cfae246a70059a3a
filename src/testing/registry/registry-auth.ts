/**
 * Access control of the in-process registry: none, Basic, or Bearer with a token server at `/token` that knows GET with
 * Basic and POST with a refresh token. A token is good for the scopes it was asked with, no more.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

export type RegistryAuth =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | {
      readonly kind: 'bearer';
      readonly username: string;
      readonly password: string;
      readonly refreshToken?: string;
      /** Anybody gets a token to pull with. */
      readonly anonymousPull?: boolean;
      /** Lifetime told to clients. */
      readonly expiresInSeconds?: number;
      /** Another token server than our own. */
      readonly realm?: string;
    };

export class AccessControl {
  readonly #auth: RegistryAuth;
  readonly #tokens = new Map<string, ReadonlySet<string>>();

  constructor(auth: RegistryAuth) {
    this.#auth = auth;
  }

  /** True when the request may go on; else it was answered with 401. */
  admit(request: IncomingMessage, response: ServerResponse, base: string, scope: string): boolean {
    const auth = this.#auth;
    const authorization = request.headers.authorization ?? '';
    if (auth.kind === 'none') return true;
    if (auth.kind === 'basic' && authorization === basic(auth.username, auth.password)) return true;
    if (auth.kind === 'bearer' && this.#covers(authorization.replace(/^Bearer /, ''), scope)) return true;
    const challenge =
      auth.kind === 'basic'
        ? 'Basic realm="test"'
        : `Bearer realm="${auth.realm ?? `${base}/token`}",service="test-registry",scope="${scope}"`;
    response.writeHead(401, { 'www-authenticate': challenge, 'content-type': 'application/json' });
    response.end(JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }));
    return false;
  }

  /** Forgets all tokens, as a registry that was restarted. */
  revokeTokens(): void {
    this.#tokens.clear();
  }

  serveToken(request: IncomingMessage, response: ServerResponse, url: URL, body: Buffer): void {
    const auth = this.#auth;
    if (auth.kind !== 'bearer') {
      response.writeHead(404).end();
      return;
    }
    const form = new URLSearchParams(body.toString());
    const scopes = (
      request.method === 'POST' ? [form.get('scope') ?? ''] : url.searchParams.getAll('scope')
    ).flatMap((text) => text.split(' '));
    const known =
      request.method === 'POST'
        ? auth.refreshToken !== undefined && form.get('refresh_token') === auth.refreshToken
        : request.headers.authorization === basic(auth.username, auth.password);
    const anonymous = auth.anonymousPull === true && request.headers.authorization === undefined;
    if (!known && !anonymous) {
      response.writeHead(401, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ details: 'incorrect username or password' }));
      return;
    }
    const token = randomUUID();
    this.#tokens.set(
      token,
      new Set(known ? scopes : scopes.map((scope) => scope.replace(/:pull,push$/, ':pull'))),
    );
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ token, expires_in: auth.expiresInSeconds ?? 300 }));
  }

  #covers(token: string, scope: string): boolean {
    const scopes = this.#tokens.get(token);
    return scopes !== undefined && (scopes.has(scope) || scopes.has(scope.replace(/:pull$/, ':pull,push')));
  }
}

const basic = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
