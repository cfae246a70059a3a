/**
 * The other end of a proxy plugin: a program that serves one of containerd's APIs on a unix socket of its own.
 *
 * Nobody is called before the first use, a program that is not there fails the call and not the daemon, and one that
 * comes back is found again. Its answers are as hostile as any client's: whoever reads them checks them.
 */
import type { Context } from '../../base/context.ts';
import { ContainerdError, unavailable } from '../../base/errors.ts';
import { connectGrpc } from '../../wire/grpc/client.ts';
import type { CallOptions, Client, Connection, Service } from '../../wire/service.ts';

export interface RemotePluginOptions {
  /** As the plugin is listed: `io.containerd.snapshotter.v1.NAME`. */
  readonly plugin: string;
  /** Path of its socket. */
  readonly address: string;
}

export class RemotePlugin implements AsyncDisposable {
  readonly #options: RemotePluginOptions;
  readonly #connection: Connection;

  constructor(options: RemotePluginOptions) {
    this.#options = options;
    this.#connection = connectGrpc(options.address);
  }

  client<S extends Service>(service: S): Client<S> {
    return this.#connection.client(service);
  }

  /** The answer of one call. Errors: the other side's; Unavailable says which plugin at which address. */
  async ask<Answer>(call: Promise<Answer>): Promise<Answer> {
    try {
      return await call;
    } catch (error) {
      throw this.#named(error);
    }
  }

  /** As `ask`, of a call that answers with many messages. */
  async *follow<Answer>(answers: AsyncIterable<Answer>): AsyncGenerator<Answer, void> {
    try {
      yield* answers;
    } catch (error) {
      throw this.#named(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #named(thrown: unknown): ContainerdError {
    const error = ContainerdError.from(thrown);
    if (error.code !== 'Unavailable') return error;
    const { plugin, address } = this.#options;
    // Behind what happened, which clients may look at.
    return unavailable(`${withoutGrpcWords(error.message)} (proxy plugin ${plugin} at ${address})`, error);
  }
}

/** What the system said when nobody could be connected to, out of what grpc-js makes of it. */
const withoutGrpcWords = (message: string): string =>
  /^No connection established\. Last error: (?:Error: )?(?<reason>.*?)\. Resolution note: ?/s.exec(message)
    ?.groups?.['reason'] ?? message;

/**
 * What goes along with a call: the caller's namespace where it has one, as containerd does. Its lease does not: that is
 * of our database.
 */
export const remoteOptions = ({ signal, namespace }: Context): CallOptions => ({
  signal,
  ...(namespace !== undefined && { namespace }),
});
