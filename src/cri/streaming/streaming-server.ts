/**
 * Where the kubelet's exec, attach and port-forward go: the RPC is answered with a URL that is good once, and whoever
 * comes with it speaks SPDY/3.1 or WebSocket.
 *
 * Differs from containerd: WebSockets may speak v5.channel.k8s.io, sessions have a limit of their own (429), and a
 * command is told by its signal that its client has left.
 */
import { networkInterfaces } from 'node:os';
import type { Duplex } from 'node:stream';
import { background, type NamespacedContext, withSignal } from '../../base/context.ts';
import { canceled } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import {
  type Refusal,
  type Upgrade,
  type UpgradeRequest,
  UpgradeServer,
} from '../../wire/http/upgrade-server.ts';
import { type ServerTls, TcpListener } from '../../wire/tcp-listener.ts';
import { inCri } from '../cri-context.ts';
import { acceptSpdy } from './negotiation.ts';
import type { CommandCall } from './remote-command.ts';
import { checkCommand, checkForward, checkSelection } from './requests.ts';
import { serveSpdyCommand, spdyCommandProtocols } from './spdy-command.ts';
import { serveSpdyForward, spdyForwardProtocols } from './spdy-forward.ts';
import type {
  CommandRequest,
  ForwardRequest,
  StreamingRuntime,
  StreamSelection,
} from './streaming-runtime.ts';
import { TokenStore } from './token-store.ts';
import { acceptWebSocket, asksForWebSocket } from './websocket/handshake.ts';
import { serveWebSocketCommand, webSocketCommandProtocols } from './websocket-command.ts';
import { serveWebSocketForward, webSocketForwardProtocols } from './websocket-forward.ts';

export interface StreamingServerDependencies {
  readonly log: Logger;
  readonly runtime: StreamingRuntime;
}

export interface StreamingServerOptions {
  /** `stream_server_address`; "" for the first address of the machine that is not its loopback. */
  readonly host: string;
  /** `stream_server_port`; 0 for a free one. */
  readonly port: number;
  /** HTTPS when given. */
  readonly tls?: Pick<ServerTls, 'cert' | 'key' | 'clientCa'>;
  /** `stream_idle_timeout`; limits.criStreamIdleMs when absent. */
  readonly idleMs?: number;
}

type Call = CommandCall | { readonly kind: 'portforward'; readonly request: ForwardRequest };

export class StreamingServer implements AsyncDisposable {
  readonly #runtime: StreamingRuntime;
  readonly #tokens = new TokenStore<Call>();
  readonly #ctx: NamespacedContext;
  readonly #closing = new AbortController();
  readonly #listener: TcpListener;
  readonly #server: UpgradeServer;
  /** Without a path. */
  readonly #url: string;
  #sessions = 0;

  private constructor(
    { log, runtime }: StreamingServerDependencies,
    listener: TcpListener,
    { url, idleMs }: { readonly url: string; readonly idleMs: number },
  ) {
    this.#runtime = runtime;
    this.#listener = listener;
    this.#url = url;
    this.#ctx = inCri(withSignal(background(log), this.#closing.signal));
    this.#server = new UpgradeServer(
      { log, handler: (request) => this.#answer(request) },
      // Those above the limit of sessions are told so.
      { maxConnections: limits.criStreamSessions * 2, idleMs },
    );
    this.#server.attach(listener);
  }

  /** Errors: FailedPrecondition when the address cannot be had; InvalidArgument for certificates that are none. */
  static async listen(
    dependencies: StreamingServerDependencies,
    { host, port, tls, idleMs = limits.criStreamIdleMs }: StreamingServerOptions,
  ): Promise<StreamingServer> {
    const address = host === '' ? ownAddress() : host;
    const listener = await TcpListener.listen(
      { host: address, port },
      tls && { ...tls, commonName: '', protocol: 'http/1.1' },
    );
    const authority = `${address.includes(':') ? `[${address}]` : address}:${listener.port}`;
    const url = `${tls === undefined ? 'http' : 'https'}://${authority}`;
    return new StreamingServer(dependencies, listener, { url, idleMs });
  }

  /** URL for Exec. Errors: InvalidArgument; ResourceExhausted when too many URLs are unused. */
  exec(request: CommandRequest): string {
    checkCommand(request);
    return this.#urlOf({ kind: 'exec', request });
  }

  /** URL for Attach. Errors: InvalidArgument; ResourceExhausted when too many URLs are unused. */
  attach(request: StreamSelection): string {
    checkSelection(request);
    return this.#urlOf({ kind: 'attach', request });
  }

  /** URL for PortForward. Errors: InvalidArgument; ResourceExhausted when too many URLs are unused. */
  portForward(request: ForwardRequest): string {
    checkForward(request);
    return this.#urlOf({ kind: 'portforward', request });
  }

  /** Cuts what is open, and waits for the calls into the runtime. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
    this.#closing.abort(canceled('the daemon stops'));
    await this.#server[Symbol.asyncDispose]();
  }

  #urlOf(call: Call): string {
    return `${this.#url}/${call.kind}/${this.#tokens.issue(call)}`;
  }

  #answer(request: UpgradeRequest): Upgrade | Refusal {
    const { method, path } = request;
    const [, kind = '', token = ''] = /^\/(exec|attach|portforward)\/([A-Za-z0-9_-]{8})$/.exec(path) ?? [];
    if (token === '') return { status: 404, text: 'nothing is there' };
    if (method !== 'GET' && method !== 'POST')
      return { status: 405, text: 'only GET and POST are answered here', headers: { allow: 'GET, POST' } };
    if (this.#sessions >= limits.criStreamSessions)
      return {
        status: 429,
        text: `maximum number of sessions exceeded: ${limits.criStreamSessions} are open`,
        headers: { 'retry-after': String(limits.criStreamTokenMs / 1000) },
      };
    const call = this.#tokens.take(token);
    if (call?.kind !== kind)
      return { status: 404, text: 'the URL is unknown, was used, or is older than a minute' };
    return call.kind === 'portforward' ? this.#forward(request, call.request) : this.#command(request, call);
  }

  #command(request: UpgradeRequest, call: CommandCall): Upgrade | Refusal {
    const isWebSocket = asksForWebSocket(request);
    const accepted = isWebSocket
      ? acceptWebSocket(request, webSocketCommandProtocols)
      : acceptSpdy(request, spdyCommandProtocols);
    if ('status' in accepted) return accepted;
    const serve = isWebSocket ? serveWebSocketCommand : serveSpdyCommand;
    return this.#session(accepted, (socket) =>
      serve(this.#ctx, { runtime: this.#runtime, socket }, call, accepted),
    );
  }

  #forward(request: UpgradeRequest, forward: ForwardRequest): Upgrade | Refusal {
    const isWebSocket = asksForWebSocket(request);
    const accepted = isWebSocket
      ? acceptWebSocket(request, webSocketForwardProtocols)
      : acceptSpdy(request, spdyForwardProtocols);
    if ('status' in accepted) return accepted;
    const serve = isWebSocket ? serveWebSocketForward : serveSpdyForward;
    return this.#session(accepted, (socket) =>
      serve(this.#ctx, { runtime: this.#runtime, socket }, forward, accepted),
    );
  }

  #session({ headers }: Pick<Upgrade, 'headers'>, serve: (socket: Duplex) => Promise<void>): Upgrade {
    this.#sessions += 1;
    return {
      headers,
      serve: async (socket) => {
        try {
          await serve(socket);
        } finally {
          this.#sessions -= 1;
        }
      },
    };
  }
}

/** As containerd takes the address of the default route; the loopback where there is no other. */
function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outward = addresses.filter(({ internal }) => !internal);
  return (outward.find(({ family }) => family === 'IPv4') ?? outward[0])?.address ?? '127.0.0.1';
}
