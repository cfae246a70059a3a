/** What every noun of the client stands on: the connection, and the namespace its calls are made in. */
import type { CallOptions, Client, Connection, Service } from '../wire/service.ts';

/** What a caller may say about one call. */
export interface Call {
  /** Aborts the call: it ends with Canceled. */
  readonly signal?: AbortSignal;
  /** Id of a lease that what the call makes is recorded in. */
  readonly lease?: string;
  /** The call ends with DeadlineExceeded, and the daemon is told. */
  readonly timeoutMs?: number;
}

export class Scope {
  readonly connection: Connection;
  readonly namespace: string;

  constructor({ connection }: { connection: Connection }, { namespace }: { namespace: string }) {
    this.connection = connection;
    this.namespace = namespace;
  }

  client<S extends Service>(service: S): Client<S> {
    return this.connection.client(service);
  }

  options(call: Call = {}): CallOptions {
    return { ...call, namespace: this.namespace };
  }
}
