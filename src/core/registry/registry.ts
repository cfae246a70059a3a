/**
 * The way to registries: one for the daemon, holding the connections; a client and a pusher for each call, holding the
 * call's credentials, tokens and trace.
 */
import { unavailable } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { parseReference } from '../../oci/reference.ts';
import { HttpClient, type HttpClientOptions } from '../../wire/http/client.ts';
import { followingRedirects } from '../../wire/http/redirects.ts';
import { type RetryOptions, retrying } from '../../wire/http/retry.ts';
import type { RegistryEndpoint } from '../transfer/transfer.ts';
import { Authorizer } from './authorizer.ts';
import { planHosts } from './hosts.ts';
import { RegistryClient } from './registry-client.ts';
import { RegistryPusher } from './registry-pusher.ts';
import { RegistrySession } from './registry-session.ts';
import { ResolutionTrace } from './resolution-trace.ts';

export interface RegistryOptions {
  /** Roots of hosts.toml directories when a call names none; `config_path` of the configuration. */
  readonly hostsRoots: readonly string[];
  /** Environment for proxies and the rest of the HTTP client's settings. */
  readonly http: HttpClientOptions;
  readonly retry?: RetryOptions;
}

/** The two sides of a repository, sharing one session. */
export interface OpenRepository {
  readonly client: RegistryClient;
  readonly pusher: RegistryPusher;
  readonly trace: ResolutionTrace;
}

export class Registry implements AsyncDisposable {
  readonly #log: Logger;
  readonly #http: HttpClient;
  readonly #options: RegistryOptions;
  #closed = false;

  constructor(dependencies: { log: Logger }, options: RegistryOptions) {
    this.#log = dependencies.log;
    this.#options = options;
    this.#http = new HttpClient(options.http);
  }

  /**
   * Reads the configuration that applies to the endpoint; nothing is sent yet.
   * Errors: InvalidArgument (reference), FailedPrecondition (hosts.toml or certificates that are no good).
   */
  async open(endpoint: RegistryEndpoint): Promise<OpenRepository> {
    if (this.#closed) throw unavailable('the registry client is closed: the daemon is stopping');
    const reference = parseReference(endpoint.reference);
    const trace = new ResolutionTrace(reference.text);
    const plan = await planHosts(reference.host, {
      roots: endpoint.hostsDir ? endpoint.hostsDir.split(':') : this.#options.hostsRoots,
      defaultScheme: endpoint.defaultScheme,
    });
    trace.setPlan(plan);
    for (const warning of plan.warnings) this.#log.warn({ reference: reference.text }, warning);
    const send = followingRedirects(retrying(this.#http.send, this.#retryOptions(reference.text)));
    const authorizer = new Authorizer(
      { send, trace },
      { reference: reference.text, credentials: endpoint.credentials },
    );
    const session = new RegistrySession(
      { send, authorizer, trace },
      { reference, hosts: plan.hosts, headers: lowerCaseNames(endpoint.headers ?? {}) },
    );
    return { client: new RegistryClient({ session, trace }), pusher: new RegistryPusher({ session }), trace };
  }

  /** Cuts what is still on the way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#http[Symbol.asyncDispose]();
  }

  #retryOptions(reference: string): RetryOptions {
    return {
      ...this.#options.retry,
      onRetry: (reason, delayMs) => {
        this.#log.info({ reference, reason, delayMs }, 'registry request is tried again');
        this.#options.retry?.onRetry?.(reason, delayMs);
      },
    };
  }
}

const lowerCaseNames = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
