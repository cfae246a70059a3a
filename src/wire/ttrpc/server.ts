/**
 * The ttrpc server: the same ServedServices as over gRPC, on connections that listeners give it.
 *
 * Calls of a connection run side by side; their handlers are entered in the order in which the requests came. ttrpc
 * has no cancel: a call's signal fires when its deadline passes, the connection is lost or the server is shut down.
 */
import type { Duplex } from 'node:stream';
import { raceTime } from '../../base/bounded-wait.ts';
import { permissionDenied, unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { type ServedMethod, servedMethods } from '../call-context.ts';
import { type InFlightCall, InFlightCalls, type ServedCall } from '../in-flight.ts';
import type { ServedService } from '../service.ts';
import type { Accepted, ConnectionSource } from '../unix-listener.ts';
import { ServerConnection, type ServerMethods } from './server-connection.ts';

export interface TtrpcServerDependencies {
  readonly services: readonly ServedService[];
  readonly log: Logger;
  /** Shared with other servers of the process; one of its own when absent. */
  readonly calls?: InFlightCalls;
}

export interface TtrpcServerOptions {
  /** Refuses peers whose user is not the one of this process, as containerd does on its ttrpc socket. */
  readonly sameUserOnly?: boolean;
}

export class TtrpcServer implements AsyncDisposable {
  readonly #log: Logger;
  readonly #calls: InFlightCalls;
  readonly #options: TtrpcServerOptions;
  readonly #methods: ServerMethods;
  readonly #connections = new Set<ServerConnection>();
  #stopping = false;

  constructor(dependencies: TtrpcServerDependencies, options: TtrpcServerOptions = {}) {
    this.#log = dependencies.log;
    this.#calls = dependencies.calls ?? new InFlightCalls();
    this.#options = options;
    this.#methods = new Map(
      dependencies.services.map((served) => [
        served.service.typeName,
        new Map(
          servedMethods(served).map((method): [string, ServedMethod] => [method.descriptor.name, method]),
        ),
      ]),
    );
  }

  /** Serves the connections of `source`. */
  attach(source: ConnectionSource): void {
    source.onConnection((accepted) => {
      try {
        this.#checkPeer(accepted);
      } catch (error) {
        this.#log.warn({ error }, 'refused a ttrpc connection');
        accepted.socket.destroy();
        return;
      }
      this.serveSocket(accepted.socket, () => accepted.peer());
    });
  }

  /** Serves one connection, which then belongs to the server; `peer` tells who is at its other end. */
  serveSocket(socket: Duplex, peer?: ServedCall['peer']): void {
    if (this.#stopping) {
      socket.destroy();
      return;
    }
    const connection = new ServerConnection(socket, {
      log: this.#log,
      calls: this.#calls,
      methods: this.#methods,
      peer,
    });
    this.#connections.add(connection);
    void connection.closed.then(() => this.#connections.delete(connection));
  }

  /** The calls being worked on, oldest first. */
  inFlight(): readonly InFlightCall[] {
    return this.#calls.list();
  }

  /**
   * Closes connections as they become idle, for `graceMs`; then tells the calls that are left by their signals and
   * closes the rest. Listeners are closed by whoever made them.
   */
  async shutdown(graceMs: number): Promise<void> {
    this.#stopping = true;
    const connections = [...this.#connections];
    const idle = Promise.all(connections.map((connection) => connection.endWhenIdle()));
    await raceTime(idle, graceMs);
    for (const connection of connections) connection.abort(unavailable('the server is shutting down'));
    await raceTime(idle, limits.grpcAbandonMs);
    for (const connection of connections) connection.destroy();
    await Promise.all(connections.map((connection) => connection.closed));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown(0);
  }

  #checkPeer(accepted: Accepted): void {
    if (this.#options.sameUserOnly !== true) return;
    const { uid, pid } = accepted.peer();
    if (uid !== process.getuid?.())
      throw permissionDenied(`process ${pid} runs as user ${uid}; only the daemon's own user may connect`);
  }
}
