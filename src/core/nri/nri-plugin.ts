/**
 * One plugin at the other end of a connection: it registers, is configured and told what there is, and is then called for
 * the events that it wants.
 *
 * A plugin that does not answer in time, breaks the protocol or goes is closed, and whoever called it goes on without it.
 * An error that it answers is the caller's to hear. Plugins older than NRI 0.12 that lack the call of an event are told by
 * StateChange.
 */
import type { Socket } from 'node:net';
import { raceTime } from '../../base/bounded-wait.ts';
import { type Context, checkSignal } from '../../base/context.ts';
import {
  deadlineExceeded,
  failedPrecondition,
  hasCode,
  invalidArgument,
  unavailable,
  wrap,
} from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import {
  type ContainerUpdate,
  Event,
  Plugin,
  Runtime,
  type UpdateContainersRequest,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { type CallOptions, type Client, serve } from '../../wire/service.ts';
import { TtrpcConnection } from '../../wire/ttrpc/client.ts';
import { Mux, muxConnections } from '../../wire/ttrpc/mux.ts';
import { TtrpcServer } from '../../wire/ttrpc/server.ts';
import type { NriContainer, NriPod } from './messages.ts';

/** The release of NRI whose messages these are. */
export const nriVersion = '0.12.0';

export interface NriPluginDependencies {
  readonly log: Logger;
  /** The plugin asks for changes by itself. Resolves with those that could not be made. */
  readonly onUpdate: (
    plugin: NriPlugin,
    request: UpdateContainersRequest,
  ) => Promise<readonly ContainerUpdate[]>;
}

export interface NriPluginOptions {
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly registrationTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Of one that we started: it cannot choose them. */
  readonly preinstalled?: { readonly index: string; readonly name: string; readonly config: string };
}

export interface NriState {
  readonly pods: readonly NriPod[];
  readonly containers: readonly NriContainer[];
}

/** Bit of an event in the mask that a plugin answers to Configure. */
const bitOf = (event: Event): number => 1 << (event - 1);
const allEvents = bitOf(Event.LAST) - 1;

export const indexPattern = /^[0-9]{2}$/;
export const namePattern = /^[A-Za-z0-9._-]{1,128}$/;

export class NriPlugin implements AsyncDisposable {
  readonly #deps: NriPluginDependencies;
  readonly #options: NriPluginOptions;
  readonly #mux: Mux;
  readonly #client: Client<typeof Plugin>;
  readonly #connection: TtrpcConnection;
  readonly #server: TtrpcServer;
  readonly #registered = Promise.withResolvers<void>();
  readonly #oldCalls = new Set<Event>();
  #index: string;
  #base: string;
  #events = 0;
  #state: 'new' | 'registered' | 'configured' | 'closed' = 'new';

  /** `socket` belongs to the plugin from here on. */
  constructor(socket: Socket, dependencies: NriPluginDependencies, options: NriPluginOptions) {
    this.#deps = dependencies;
    this.#options = options;
    this.#index = options.preinstalled?.index ?? '??';
    this.#base = options.preinstalled?.name ?? 'plugin';
    this.#mux = new Mux(socket);
    this.#connection = new TtrpcConnection(this.#mux.open(muxConnections.plugin));
    this.#client = this.#connection.client(Plugin);
    this.#server = new TtrpcServer({ services: [this.#runtimeService()], log: dependencies.log });
    this.#server.serveSocket(this.#mux.open(muxConnections.runtime));
    void this.#mux.closed.then(() => {
      this.#state = 'closed';
      this.#registered.reject(unavailable('the plugin closed the connection before it registered'));
    });
    this.#registered.promise.catch(() => {});
  }

  get index(): string {
    return this.#index;
  }

  /** Without the index. */
  get base(): string {
    return this.#base;
  }

  get name(): string {
    return `${this.#index}-${this.#base}`;
  }

  get closed(): Promise<void> {
    return this.#mux.closed;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  wants(event: Event): boolean {
    return !this.isClosed && (this.#events & bitOf(event)) !== 0;
  }

  /** Until it is configured. Errors: DeadlineExceeded, Unavailable, InvalidArgument; the plugin is then closed. */
  async start(): Promise<void> {
    const { registrationTimeoutMs } = this.#options;
    try {
      const registered = await raceTime(this.#registered.promise, registrationTimeoutMs);
      if (registered === undefined)
        throw deadlineExceeded(`the plugin did not register within ${registrationTimeoutMs} ms`);
      await this.#configure();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Tells what there is, in parts that fit a message. Resolves with the changes that the plugin wants.
   * Errors: those of the plugin, which is then closed.
   */
  async synchronize({ pods, containers }: NriState): Promise<readonly ContainerUpdate[]> {
    try {
      return await this.#synchronize([...pods], [...containers]);
    } catch (error) {
      this.close();
      throw wrap(`synchronize NRI plugin ${this.name}`, error);
    }
  }

  /** Undefined when it does not want the event, or was closed because of it. Errors: those that it answered, Canceled. */
  async call<Answer>(
    ctx: Context,
    event: Event,
    ask: (client: Client<typeof Plugin>, options: CallOptions) => Promise<Answer>,
  ): Promise<Answer | undefined> {
    if (!this.wants(event)) return undefined;
    try {
      return await ask(this.#client, this.#callOptions(ctx.signal));
    } catch (error) {
      checkSignal(ctx.signal);
      if (!this.isClosed && !hasCode(error, 'DeadlineExceeded')) throw wrap(`NRI plugin ${this.name}`, error);
      this.#deps.log.error(
        { plugin: this.name, event: Event[event], error },
        'an NRI plugin did not handle an event and is closed',
      );
      this.close();
      return undefined;
    }
  }

  /** `call` for an event that wants no answer. */
  async tell(
    ctx: Context,
    event: Event,
    about: { readonly pod: NriPod; readonly container?: NriContainer },
    ask: (client: Client<typeof Plugin>, options: CallOptions) => Promise<unknown>,
  ): Promise<void> {
    await this.call(ctx, event, async (client, options) => {
      if (!this.#oldCalls.has(event))
        try {
          return await ask(client, options);
        } catch (error) {
          if (!hasCode(error, 'Unimplemented')) throw error;
          this.#oldCalls.add(event);
          this.#deps.log.warn(
            { plugin: this.name, event: Event[event] },
            'an NRI plugin handles an event by StateChange, which is deprecated; update it',
          );
        }
      return client.stateChange({ event, ...about }, options);
    });
  }

  /** Ends the connection at once. */
  close(): void {
    this.#state = 'closed';
    this.#mux.destroy();
  }

  /** Tells the plugin first, for a moment. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'configured')
      await this.#client.shutdown({}, { timeoutMs: limits.nriShutdownMs }).catch(() => {});
    this.close();
    await this.closed;
    await Promise.all([this.#connection[Symbol.asyncDispose](), this.#server.shutdown(0)]);
  }

  #callOptions(signal?: AbortSignal): CallOptions {
    const timeoutMs = this.#options.requestTimeoutMs;
    return signal === undefined ? { timeoutMs } : { timeoutMs, signal };
  }

  #runtimeService(): ReturnType<typeof serve> {
    return serve(Runtime, {
      registerPlugin: async (_ctx, { pluginName, pluginIdx }) => {
        if (this.#state !== 'new') throw failedPrecondition(`the plugin is registered as ${this.name}`);
        if (this.#options.preinstalled === undefined) this.#take(pluginIdx, pluginName);
        this.#state = 'registered';
        this.#registered.resolve();
        return {};
      },
      updateContainers: async (_ctx, request) => {
        if (this.#state !== 'configured')
          throw failedPrecondition('a plugin may ask for updates once it is registered and configured');
        return { failed: [...(await this.#deps.onUpdate(this, request))] };
      },
    });
  }

  #take(index: string, name: string): void {
    const reason = !namePattern.test(name)
      ? `invalid plugin name ${JSON.stringify(name.slice(0, 128))}: letters, digits, ".", "_" and "-" make one`
      : `invalid plugin index ${JSON.stringify(index.slice(0, 128))}: it must be two digits`;
    if (!namePattern.test(name) || !indexPattern.test(index)) {
      const error = invalidArgument(reason);
      this.#registered.reject(error);
      throw error;
    }
    this.#index = index;
    this.#base = name;
  }

  async #configure(): Promise<void> {
    const { runtimeName, runtimeVersion, registrationTimeoutMs, requestTimeoutMs, preinstalled } =
      this.#options;
    const { events } = await this.#client.configure(
      {
        config: preinstalled?.config ?? '',
        runtimeName,
        runtimeVersion,
        registrationTimeout: BigInt(registrationTimeoutMs),
        requestTimeout: BigInt(requestTimeoutMs),
        NRIVersion: nriVersion,
      },
      this.#callOptions(),
    );
    const unknownBits = events & ~allEvents;
    if (unknownBits !== 0)
      throw invalidArgument(`invalid plugin events: 0x${(unknownBits >>> 0).toString(16)}`);
    // Whoever does not choose gets all events, but does not judge what others do.
    this.#events = events === 0 ? allEvents & ~bitOf(Event.VALIDATE_CONTAINER_ADJUSTMENT) : events;
    if (this.#state === 'registered') this.#state = 'configured';
  }

  async #synchronize(pods: NriPod[], containers: NriContainer[]): Promise<readonly ContainerUpdate[]> {
    let perMessage = Math.max(1, pods.length, containers.length);
    for (;;) {
      const part = { pods: pods.slice(0, perMessage), containers: containers.slice(0, perMessage) };
      const more = pods.length > perMessage || containers.length > perMessage;
      try {
        const answer = await this.#client.synchronize({ ...part, more }, this.#callOptions());
        if (!more) return answer.update;
        if (!answer.more || answer.update.length > 0)
          throw failedPrecondition('the plugin does not take what there is in more than one message');
        pods.splice(0, perMessage);
        containers.splice(0, perMessage);
      } catch (error) {
        if (!hasCode(error, 'ResourceExhausted') || perMessage === 1 || this.isClosed) throw error;
        perMessage = Math.ceil(perMessage / 2);
      }
    }
  }
}
