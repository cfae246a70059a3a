/**
 * The gRPC server: serves ServedServices over connections that listeners give it. node:http2 does the framing; the
 * rest of the protocol is small enough to be here and in server-call.ts (docs/decisions/0085-grpc-server.md says what
 * that saves).
 *
 * Each call gets a context: namespace and lease from its headers, a signal that fires when the client cancels,
 * vanishes, lets its deadline pass, or the server is shut down. A bad or missing namespace is the handler's to judge.
 * Messages may be packed by gzip (compression.ts), as containerd takes them.
 */
import assert from 'node:assert/strict';
import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import { raceTime } from '../../base/bounded-wait.ts';
import type { Context } from '../../base/context.ts';
import { internal, unavailable, unimplemented } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { callContext, type ServedMethod, servedMethods } from '../call-context.ts';
import { type InFlightCall, InFlightCalls, type RunningCall, type ServedCall } from '../in-flight.ts';
import { failureOf } from '../iteration.ts';
import type { ServedService } from '../service.ts';
import { statusOf } from '../status.ts';
import type { ConnectionSource } from '../unix-listener.ts';
import { deserializer, firstOf, readHeaders, readTimeoutMs, serializer, statusTrailers } from './codec.ts';
import { pack, readEncoding, requireEncoding } from './compression.ts';
import { callEnded } from './flow.ts';
import { ServerCall } from './server-call.ts';

export interface GrpcServerDependencies {
  readonly services: readonly ServedService[];
  readonly log: Logger;
  /** Shared with other servers of the process; one of its own when absent. */
  readonly calls?: InFlightCalls;
}

export interface GrpcServerOptions {
  /** Largest message, each way. */
  readonly maxMessageBytes?: number;
}

/** What is known of a method before the first call. */
interface Route {
  readonly method: ServedMethod;
  readonly takesStream: boolean;
  readonly givesStream: boolean;
  readonly decode: (bytes: Uint8Array) => unknown;
  readonly encode: (message: unknown) => Uint8Array;
}

/** A call under way: its context, and the end of it. */
interface Scope extends Disposable {
  readonly ctx: Context;
  readonly running: RunningCall;
}

/** A call of a method that is served, before anything is known of its message. */
interface Arrival {
  readonly route: Route;
  readonly call: ServerCall;
  readonly headers: IncomingHttpHeaders;
  readonly timeoutMs: number | undefined;
  readonly peer: ServedCall['peer'];
}

/** The longest that a timer of Node's takes. */
const timerMsMax = 2 ** 31 - 1;

export class GrpcServer implements AsyncDisposable {
  readonly #log: Logger;
  readonly #calls: InFlightCalls;
  readonly #server: Http2Server;
  readonly #maxMessageBytes: number;
  readonly #routes = new Map<string, Route>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #sockets = new Set<Socket>();
  readonly #peers = new WeakMap<ServerHttp2Session, ServedCall['peer']>();
  /** Whose session the server is just making. */
  #accepting: ServedCall['peer'];
  readonly #running = new Set<AbortController>();
  #stopping = false;

  constructor(dependencies: GrpcServerDependencies, options: GrpcServerOptions = {}) {
    this.#log = dependencies.log;
    this.#calls = dependencies.calls ?? new InFlightCalls();
    this.#maxMessageBytes = options.maxMessageBytes ?? limits.grpcMessageBytes;
    for (const served of dependencies.services)
      for (const method of servedMethods(served)) this.#register(method);
    this.#server = createServer({
      settings: { initialWindowSize: limits.grpcStreamWindowBytes },
      maxSessionMemory: limits.grpcSessionMegabytes,
      // Go's clients reset a stream when they have what they came for: reading a blob by ReadAt is a thousand resets
      // a second, which Node would take for an attack; whoever reaches this socket is root already.
      streamResetBurst: limits.grpcStreamResets,
      streamResetRate: limits.grpcStreamResets,
    });
    this.#server.on('session', (session) => this.#onSession(session));
    this.#server.on('sessionError', (error) => this.#log.debug({ error }, 'connection failed'));
    this.#server.on(
      'stream',
      (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void this.#onStream(stream, headers),
    );
  }

  /** Serves the connections of `source`. */
  attach(source: ConnectionSource): void {
    source.onConnection((accepted) => this.serveSocket(accepted.socket, () => accepted.peer()));
  }

  /** Serves one connection, which then belongs to the server; `peer` tells who is at its other end. */
  serveSocket(socket: Socket, peer?: ServedCall['peer']): void {
    if (this.#stopping) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', (error) => this.#log.debug({ error }, 'connection failed'));
    // The session is made, and told, before this returns.
    this.#accepting = peer;
    this.#server.emit('connection', socket);
    this.#accepting = undefined;
  }

  /** The calls being worked on, oldest first. */
  inFlight(): readonly InFlightCall[] {
    return this.#calls.list();
  }

  /**
   * Lets calls finish for `graceMs`, tells those that are left by their signals (their clients get Unavailable), and
   * closes all connections. Listeners are closed by whoever made them.
   */
  async shutdown(graceMs: number): Promise<void> {
    this.#stopping = true;
    const closed = Promise.all(
      [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    );
    for (const session of this.#sessions) session.close();
    await raceTime(closed, graceMs);
    for (const call of this.#running) call.abort(unavailable('the server is shutting down'));
    // A moment for the statuses of the calls just told to leave.
    await raceTime(closed, limits.grpcAbandonMs);
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown(0);
  }

  #register(method: ServedMethod): void {
    const { name, descriptor } = method;
    const { methodKind } = descriptor;
    const path = `/${name}`;
    assert(!this.#routes.has(path), `${name} is served twice`);
    this.#routes.set(path, {
      method,
      takesStream: methodKind === 'client_streaming' || methodKind === 'bidi_streaming',
      givesStream: methodKind === 'server_streaming' || methodKind === 'bidi_streaming',
      decode: decoderOf(descriptor),
      encode: serializer(descriptor.output),
    });
  }

  #onSession(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    this.#peers.set(session, this.#accepting);
    session.once('close', () => this.#sessions.delete(session));
    session.setLocalWindowSize(limits.grpcSessionWindowBytes);
  }

  async #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    const httpStatus = refusalOf(headers);
    if (httpStatus !== undefined) {
      stream.on('error', () => {});
      stream.respond({ ':status': httpStatus }, { endStream: true });
      return;
    }
    const controller = new AbortController();
    const timeoutMs = readTimeoutMs(headers);
    const deadlineMs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + timeoutMs;
    const encoding = readEncoding(headers);
    const call = new ServerCall(stream, {
      maxMessageBytes: this.#maxMessageBytes,
      encoding,
      onGone: () => controller.abort(callEnded(deadlineMs)),
    });
    const path = headers[':path'] ?? '';
    controller.signal.addEventListener('abort', () => call.fail(controller.signal.reason), { once: true });
    using _deadline = deadlineOf(timeoutMs, () => {
      controller.abort(callEnded(0));
      call.finish(this.#failed(path, controller.signal.reason));
    });
    try {
      const route = this.#routes.get(path);
      if (route?.method.handler === undefined) throw unimplemented(`method ${path.slice(1)}`);
      requireEncoding(encoding);
      const peer =
        stream.session === undefined ? undefined : this.#peers.get(stream.session as ServerHttp2Session);
      await this.#serve({ route, call, headers, timeoutMs, peer }, controller);
    } catch (error) {
      call.finish(this.#failed(path, error));
    }
  }

  async #serve(arrival: Arrival, controller: AbortController): Promise<void> {
    using scope = this.#begin(arrival, controller);
    try {
      await scope.running.run(() => this.#answer(arrival, scope));
    } catch (error) {
      const failure = failureOf(error, controller.signal);
      scope.running.failed(statusOf(failure).code);
      throw failure;
    }
  }

  async #answer({ route, call }: Arrival, { ctx, running }: Scope): Promise<void> {
    const { method, givesStream, takesStream } = route;
    const decode = (bytes: Uint8Array): unknown => {
      running.received();
      return route.decode(bytes);
    };
    const encode = (message: unknown): Uint8Array => {
      running.sent();
      return route.encode(message);
    };
    const input = takesStream ? call.requests(decode) : decode(await call.request());
    const answer = method.handler?.(ctx, input);
    if (givesStream) {
      await call.answerAll(answer as AsyncIterable<unknown>, encode, ctx.signal);
      call.succeed();
    } else {
      const message = encode(await answer);
      call.succeed(call.packsAnswers ? await pack(message) : message);
    }
  }

  #begin({ route, headers, timeoutMs, peer }: Arrival, controller: AbortController): Scope {
    const { name, descriptor } = route.method;
    const ctx = callContext(this.#log, name, readHeaders(headers), controller.signal);
    this.#running.add(controller);
    const running = this.#calls.begin({
      protocol: 'grpc',
      method: name,
      kind: descriptor.methodKind,
      namespace: ctx.namespace,
      timeoutMs,
      peer,
      header: (header) => firstOf(headers[header]),
    });
    return {
      ctx,
      running,
      [Symbol.dispose]: () => {
        this.#running.delete(controller);
        running[Symbol.dispose]();
      },
    };
  }

  #failed(path: string, error: unknown): ReturnType<typeof statusTrailers> {
    const status = statusOf(error);
    this.#log.debug({ method: path.slice(1), code: status.code, error }, 'call failed');
    return statusTrailers(status);
  }
}

/** The HTTP status of a request that is no gRPC call. */
function refusalOf(headers: IncomingHttpHeaders): number | undefined {
  if (headers[':method'] !== 'POST') return 405;
  return /^application\/grpc(?:$|[+;])/.test(headers['content-type'] ?? '') ? undefined : 415;
}

function deadlineOf(timeoutMs: number | undefined, passed: () => void): Disposable {
  if (timeoutMs === undefined) return { [Symbol.dispose]: () => {} };
  const timer = setTimeout(passed, Math.min(timeoutMs, timerMsMax));
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Bytes that are no message are Internal, as grpc-go answers. */
function decoderOf({ input }: ServedMethod['descriptor']): Route['decode'] {
  const decode = deserializer(input);
  return (bytes) => {
    try {
      return decode(bytes);
    } catch (error) {
      throw internal(`cannot read ${input.typeName}: ${(error as Error).message}`, error);
    }
  };
}
