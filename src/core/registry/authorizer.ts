/**
 * Convincing registries: Basic, Bearer tokens by GET, and by OAuth2 POST for refresh tokens (Docker's token
 * specification). One authorizer serves one call of one user: tokens and credentials are never shared between callers.
 *
 * A token is asked for once for each host and set of scopes, also when several downloads need it at once. Credentials
 * are asked from their source once for each host that demands some, and go only to that host and to the token server
 * it names, never from TLS to plain http.
 */
import { ContainerdError, permissionDenied, unauthenticated, unavailable } from '../../base/errors.ts';
import { readBody, readErrorMessage } from '../../wire/http/body.ts';
import type { HttpRequest, HttpResponse, Send } from '../../wire/http/message.ts';
import { redactUrl, tameText } from '../../wire/http/redact.ts';
import type { CredentialSource, Credentials } from '../transfer/transfer.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { RegistryHost } from './hosts.ts';
import type { ResolutionTrace } from './resolution-trace.ts';

interface Token {
  readonly value: string;
  readonly expiresAtMs: number;
}

interface HostState {
  challenge: Challenge | undefined;
  credentials: Promise<Credentials> | undefined;
  readonly tokens: Map<string, Promise<Token>>;
}

export interface AuthorizerDependencies {
  /** Follows redirects and retries. */
  readonly send: Send;
  readonly trace: ResolutionTrace;
}

export interface AuthorizerOptions {
  readonly reference: string;
  readonly credentials: CredentialSource | undefined;
}

const clientId = 'containerd-client';
/** The specification's default, and what is taken off so that a token does not expire on the way. */
const defaultLifetimeSeconds = 60;
const marginMs = 5_000;

export class Authorizer {
  readonly #send: Send;
  readonly #trace: ResolutionTrace;
  readonly #options: AuthorizerOptions;
  readonly #hosts = new Map<string, HostState>();

  constructor({ send, trace }: AuthorizerDependencies, options: AuthorizerOptions) {
    this.#send = send;
    this.#trace = trace;
    this.#options = options;
  }

  /** Value for the Authorization header by what the host has demanded so far; undefined before it demanded any. */
  async authorization(
    host: RegistryHost,
    scopes: readonly string[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const state = this.#state(host);
    const { challenge } = state;
    if (challenge === undefined) return undefined;
    const credentials = await this.#credentials(host, state, []);
    if (credentials.kind === 'header') return credentials.value;
    if (challenge.scheme === 'basic') return basicHeader(credentials);
    return `Bearer ${await this.#token(host, state, challenge, credentials, scopes, signal)}`;
  }

  /** Which kind `authorization` would use, for the trace. */
  async kind(host: RegistryHost): Promise<Credentials['kind'] | 'unasked'> {
    const pending = this.#hosts.get(host.origin.origin)?.credentials;
    return pending === undefined ? 'unasked' : (await pending).kind;
  }

  /** Takes in a 401. True when a second try, with what `authorization` then gives, makes sense. */
  async learn(host: RegistryHost, response: HttpResponse): Promise<boolean> {
    const headers = response.headerValues('www-authenticate');
    const challenges = parseChallenges(headers);
    // Bearer first, as it is scoped; among several the first that is complete.
    const challenge =
      challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm')) ??
      challenges.find(({ scheme }) => scheme === 'basic');
    if (challenge === undefined) return false;
    const state = this.#state(host);
    const isNew = state.challenge === undefined || !sameChallenge(state.challenge, challenge);
    const wasStale = state.tokens.size > 0;
    state.challenge = challenge;
    state.tokens.clear();
    const credentials = await this.#credentials(host, state, headers);
    if (challenge.scheme === 'basic' && credentials.kind !== 'basic' && credentials.kind !== 'header')
      return false;
    return isNew || wasStale;
  }

  #state(host: RegistryHost): HostState {
    const key = host.origin.origin;
    let state = this.#hosts.get(key);
    if (state === undefined) {
      state = { challenge: undefined, credentials: undefined, tokens: new Map() };
      this.#hosts.set(key, state);
    }
    return state;
  }

  #credentials(host: RegistryHost, state: HostState, challenges: readonly string[]): Promise<Credentials> {
    const { credentials: source, reference } = this.#options;
    state.credentials ??=
      source === undefined
        ? Promise.resolve({ kind: 'none' })
        : source({ host: host.origin.host, reference, challenges });
    return state.credentials;
  }

  async #token(
    host: RegistryHost,
    state: HostState,
    challenge: Challenge,
    credentials: Credentials,
    scopes: readonly string[],
    signal: AbortSignal,
  ): Promise<string> {
    const key = scopes.join(' ');
    const cached = state.tokens.get(key);
    if (cached !== undefined) {
      const token = await cached;
      if (token.expiresAtMs > Date.now()) return token.value;
      if (state.tokens.get(key) === cached) state.tokens.delete(key);
    }
    const pending = state.tokens.get(key) ?? this.#requestToken(host, challenge, credentials, scopes, signal);
    state.tokens.set(key, pending);
    try {
      return (await pending).value;
    } catch (error) {
      if (state.tokens.get(key) === pending) state.tokens.delete(key);
      throw error;
    }
  }

  async #requestToken(
    host: RegistryHost,
    challenge: Challenge,
    credentials: Credentials,
    scopes: readonly string[],
    signal: AbortSignal,
  ): Promise<Token> {
    const realm = tokenRealm(host, challenge, credentials);
    const request = { tls: host.tls, dialTimeoutMs: host.dialTimeoutMs, signal };
    const asked = challenge.parameters.get('scope')?.split(' ') ?? [];
    const all = [...new Set([...scopes, ...asked])].filter((scope) => scope !== '').sort();
    const service = challenge.parameters.get('service');
    const answer =
      credentials.kind === 'refresh'
        ? await this.#exchange(postRequest(realm, service, all, credentials.token, request), credentials.kind)
        : await this.#exchange(getRequest(realm, service, all, credentials, request), credentials.kind);
    return parseToken(answer, realm);
  }

  async #exchange(request: HttpRequest, kind: Credentials['kind']): Promise<Buffer> {
    const step = {
      operation: 'token',
      method: request.method,
      url: redactUrl(request.url),
      credentials: kind,
    } as const;
    try {
      const response = await this.#send(request);
      const { status } = response;
      if (status === 200) {
        this.#trace.add({ ...step, status, outcome: 'token' });
        return await readBody(response);
      }
      const message = await readErrorMessage(response);
      this.#trace.add({ ...step, status, outcome: message });
      throw refused(request.url, status, message, kind);
    } catch (error) {
      if (!(error instanceof ContainerdError && error.code === 'Unauthenticated'))
        this.#trace.add({ ...step, outcome: ContainerdError.from(error).message });
      throw error;
    }
  }
}

function refused(url: URL, status: number, message: string, kind: Credentials['kind']): ContainerdError {
  const said = message === '' ? '' : ` (${message})`;
  const advice = kind === 'none' ? 'no credentials were given for it' : 'check user and password or token';
  return status === 400 || status === 401 || status === 403
    ? unauthenticated(`token server ${redactUrl(url)} refused with status ${status}${said}: ${advice}`)
    : unavailable(`token server ${redactUrl(url)} answered with status ${status}${said}`);
}

/** Errors: PermissionDenied when the secret would leave TLS. */
function tokenRealm(host: RegistryHost, challenge: Challenge, credentials: Credentials): URL {
  const text = challenge.parameters.get('realm') ?? '';
  const realm = URL.parse(text);
  if (realm === null || (realm.protocol !== 'https:' && realm.protocol !== 'http:'))
    throw unavailable(
      `${host.origin.host} names the token server ${JSON.stringify(tameText(text, 100))}, which is no http address`,
    );
  if (credentials.kind !== 'none' && host.origin.protocol === 'https:' && realm.protocol === 'http:')
    throw permissionDenied(
      `${host.origin.host} sends us to the token server ${redactUrl(realm)} without TLS: credentials are not sent there`,
    );
  return realm;
}

type Common = Pick<HttpRequest, 'tls' | 'signal'> & { readonly dialTimeoutMs: number | undefined };

function getRequest(
  realm: URL,
  service: string | undefined,
  scopes: readonly string[],
  credentials: Credentials,
  common: Common,
): HttpRequest {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  const authorization = basicHeader(credentials);
  const headers = { accept: 'application/json', ...(authorization !== undefined && { authorization }) };
  return { ...withDial(common), method: 'GET', url, headers };
}

function postRequest(
  realm: URL,
  service: string | undefined,
  scopes: readonly string[],
  refreshToken: string,
  common: Common,
): HttpRequest {
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    service: service ?? '',
    client_id: clientId,
    scope: scopes.join(' '),
    refresh_token: refreshToken,
  });
  const headers = {
    accept: 'application/json',
    'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
  };
  return { ...withDial(common), method: 'POST', url: realm, headers, body: Buffer.from(form.toString()) };
}

const withDial = ({ dialTimeoutMs, ...rest }: Common): Omit<HttpRequest, 'method' | 'url' | 'headers'> => ({
  ...rest,
  ...(dialTimeoutMs !== undefined && { dialTimeoutMs }),
});

const basicHeader = (credentials: Credentials): string | undefined =>
  credentials.kind === 'basic'
    ? `Basic ${Buffer.from(`${credentials.username}:${credentials.secret}`).toString('base64')}`
    : undefined;

/** Errors: Unavailable when the answer holds no token. */
function parseToken(body: Buffer, realm: URL): Token {
  let document: unknown;
  try {
    document = JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw unavailable(`token server ${redactUrl(realm)} answered with something that is not JSON`, error);
  }
  const { token, access_token, expires_in } = (document ?? {}) as Record<string, unknown>;
  const value = [token, access_token].find((text) => typeof text === 'string' && /^[\x21-\x7e]+$/.test(text));
  if (typeof value !== 'string')
    throw unavailable(`token server ${redactUrl(realm)} answered without a token`);
  const seconds = typeof expires_in === 'number' && expires_in > 0 ? expires_in : defaultLifetimeSeconds;
  return { value, expiresAtMs: Date.now() + seconds * 1000 - marginMs };
}

const sameChallenge = (a: Challenge, b: Challenge): boolean =>
  a.scheme === b.scheme && JSON.stringify([...a.parameters]) === JSON.stringify([...b.parameters]);
