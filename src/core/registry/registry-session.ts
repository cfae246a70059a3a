/**
 * The way to one repository: its hosts in order, each request authorized, retried, traced, and every failure told with
 * the name of the host that caused it. registry-client.ts says what is asked; this file says how.
 */
import { checkSignal } from '../../base/context.ts';
import {
  absent,
  ContainerdError,
  codedError,
  type ErrorCode,
  failedPrecondition,
} from '../../base/errors.ts';
import type { Reference } from '../../oci/reference.ts';
import { discardBody, readErrorMessage } from '../../wire/http/body.ts';
import { isPlainHttpServer } from '../../wire/http/failure.ts';
import type { HttpRequest, HttpResponse, Send } from '../../wire/http/message.ts';
import { redactUrl } from '../../wire/http/redact.ts';
import type { Authorizer } from './authorizer.ts';
import type { RegistryHost } from './hosts.ts';
import type { HostCapability } from './hosts-toml.ts';
import type { ResolutionTrace, TraceStep } from './resolution-trace.ts';

export interface RegistryRequest {
  readonly operation: 'resolve' | 'fetch' | 'push';
  readonly method: HttpRequest['method'];
  /** Below the repository, `/manifests/latest`; or a whole URL, as an upload's location. */
  readonly target: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: HttpRequest['body'];
  /** Called for each try: a stream can be sent only once. */
  readonly openBody?: () => AsyncIterable<Uint8Array>;
  readonly query?: Readonly<Record<string, string>>;
  readonly scopes?: readonly string[];
}

export interface RegistrySessionDependencies {
  /** Follows redirects and retries. */
  readonly send: Send;
  readonly authorizer: Authorizer;
  readonly trace: ResolutionTrace;
}

export interface RegistrySessionOptions {
  readonly reference: Reference;
  readonly hosts: readonly RegistryHost[];
  /** Sent to every host of the registry, never beyond it. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What one host answered that was of no use. */
interface HostFailure {
  readonly host: RegistryHost;
  readonly code: ErrorCode;
  readonly message: string;
  readonly cause: unknown;
}

export class RegistrySession {
  readonly #send: Send;
  readonly #authorizer: Authorizer;
  readonly #trace: ResolutionTrace;
  readonly #options: RegistrySessionOptions;
  /** Hosts that turned out to speak plain http. */
  readonly #plain = new Set<string>();

  constructor(dependencies: RegistrySessionDependencies, options: RegistrySessionOptions) {
    this.#send = dependencies.send;
    this.#authorizer = dependencies.authorizer;
    this.#trace = dependencies.trace;
    this.#options = options;
  }

  get reference(): Reference {
    return this.#options.reference;
  }

  hostsWith(capability: HostCapability): RegistryHost[] {
    return this.#options.hosts.filter(({ capabilities }) => capabilities.includes(capability));
  }

  /**
   * Asks one host after the other until `attempt` gives something; undefined from it means "not here". An error of one
   * host does not keep the next from being asked.
   * Errors: NotFound when nobody has it, else the code of the weightiest failure with what each host answered.
   */
  async firstOf<Result>(
    capability: HostCapability,
    what: string,
    signal: AbortSignal,
    attempt: (host: RegistryHost) => Promise<Result | undefined>,
  ): Promise<Result> {
    const hosts = this.hostsWith(capability);
    const failures: HostFailure[] = [];
    for (const host of hosts) {
      try {
        const result = await attempt(host);
        if (result !== undefined) return result;
        failures.push({ host, code: 'NotFound', message: 'not found', cause: undefined });
      } catch (error) {
        checkSignal(signal);
        const { code, message } = ContainerdError.from(error);
        failures.push({ host, code, message, cause: error });
      }
    }
    throw summary(what, capability, failures);
  }

  /** One answer, authorized; 401 is answered by a second try. Other statuses are the caller's to read. */
  async request(host: RegistryHost, request: RegistryRequest, signal: AbortSignal): Promise<HttpResponse> {
    const first = await this.#exchange(host, request, signal);
    if (first.status !== 401) return first;
    const again = await this.#authorizer.learn(host, first);
    if (!again) return first;
    await discardBody(first);
    return this.#exchange(host, request, signal);
  }

  async #exchange(host: RegistryHost, request: RegistryRequest, signal: AbortSignal): Promise<HttpResponse> {
    const url = this.#url(host, request);
    const scopes = request.scopes ?? [scopeOf(this.reference.repository, request.operation)];
    const step = { operation: request.operation, method: request.method, url: redactUrl(url) };
    // An upload may be sent to another host: that one gets the bytes and nothing else.
    const isOwn = url.origin === this.#origin(host).origin;
    const authorization = isOwn ? await this.#authorizer.authorization(host, scopes, signal) : undefined;
    const credentials = authorization === undefined ? 'unasked' : 'token';
    const body = request.openBody?.() ?? request.body;
    try {
      const response = await this.#send({
        method: request.method,
        url,
        headers: {
          ...(isOwn && { ...this.#options.headers, ...host.headers }),
          ...request.headers,
          ...(authorization !== undefined && { authorization }),
        },
        ...(body !== undefined && { body }),
        tls: host.tls,
        ...(host.dialTimeoutMs !== undefined && { dialTimeoutMs: host.dialTimeoutMs }),
        signal,
      });
      await this.#record(host, step, credentials, response);
      return response;
    } catch (error) {
      if (this.#turnsPlain(host, error)) return this.#exchange(host, request, signal);
      this.#trace.add({ ...step, credentials, outcome: ContainerdError.from(error).message });
      throw error;
    }
  }

  async #record(
    host: RegistryHost,
    step: Pick<TraceStep, 'operation' | 'method' | 'url'>,
    authorized: 'token' | 'unasked',
    response: HttpResponse,
  ): Promise<void> {
    const kind = authorized === 'unasked' ? authorized : await this.#authorizer.kind(host);
    const type = response.header('content-type');
    const outcome = response.status < 300 ? (type ?? 'success') : `status ${response.status}`;
    this.#trace.add({ ...step, credentials: kind, status: response.status, outcome });
  }

  #turnsPlain(host: RegistryHost, error: unknown): boolean {
    const { origin } = host.origin;
    if (!host.plainFallback || this.#plain.has(origin) || !isPlainHttpServer(error)) return false;
    this.#plain.add(origin);
    return true;
  }

  #origin(host: RegistryHost): URL {
    const origin = new URL(host.origin);
    if (this.#plain.has(origin.origin)) origin.protocol = 'http:';
    return origin;
  }

  #url(host: RegistryHost, { target, query }: RegistryRequest): URL {
    const origin = this.#origin(host);
    const { host: registry, repository } = this.reference;
    const url =
      target instanceof URL
        ? new URL(target)
        : new URL(`${origin.origin}${host.path}/${repository}${target}`);
    if (host.isMirror && !(target instanceof URL)) url.searchParams.set('ns', registry);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    return url;
  }
}

/** Scope of Docker's token specification. */
export const scopeOf = (repository: string, operation: 'resolve' | 'fetch' | 'push' | 'pull'): string =>
  `repository:${repository}:${operation === 'push' ? 'pull,push' : 'pull'}`;

/** An answer that is no success as the error to throw; takes the body. */
export async function unexpectedStatus(response: HttpResponse, method: string): Promise<ContainerdError> {
  const { status, url } = response;
  const message = await readErrorMessage(response);
  const said = message === '' ? '' : ` (${message})`;
  return codedError(
    codeOfStatus(status),
    `${method} ${redactUrl(url)} answered with status ${status}${said}${statusAdvice(status)}`,
  );
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return 'Unauthenticated';
  if (status === 403) return 'PermissionDenied';
  if (status === 404) return 'NotFound';
  return status === 429 || status >= 500 ? 'Unavailable' : 'Unknown';
}

function statusAdvice(status: number): string {
  if (status === 401) return ': it needs credentials, or those given are wrong';
  if (status === 403) return ': these credentials may not do this';
  return status === 429 ? ': it limits how often it may be asked, try again later' : '';
}

const weights: readonly ErrorCode[] = ['Unauthenticated', 'PermissionDenied', 'NotFound'];

function summary(
  what: string,
  capability: HostCapability,
  failures: readonly HostFailure[],
): ContainerdError {
  const [first] = failures;
  if (first === undefined)
    return failedPrecondition(
      `${what}: no host with the capability "${capability}" is configured: see hosts.toml`,
    );
  // What was not found everywhere is not there; any other answer of a host says more than that.
  const other = failures.filter(({ code }) => code !== 'NotFound');
  const weightiest = weights.find((code) => other.some((failure) => failure.code === code));
  const main = other.find(({ code }) => code === weightiest) ?? other[0] ?? first;
  if (other.length === 0)
    return absent(failures.length === 1 ? what : `${what}: asked ${hostList(failures)}`);
  const told = failures.map(({ host, message }) => `${host.origin.host}: ${message}`).join('; ');
  return codedError(main.code, `${what}: ${told}`, main.cause);
}

const hostList = (failures: readonly HostFailure[]): string =>
  failures.map(({ host }) => host.origin.host).join(', ');
