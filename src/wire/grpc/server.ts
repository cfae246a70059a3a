/**
 * The gRPC server: serves ServedServices over connections that listeners give it. grpc-js does HTTP/2; everything
 * that containerd adds (headers, error classes, limits) is here.
 *
 * Each call gets a context: namespace and lease from its headers, a signal that fires when the client cancels,
 * vanishes, lets its deadline pass, or the server is shut down. A bad namespace answers InvalidArgument before the
 * handler sees the call; a missing one is the handler's to judge.
 */
import assert from 'node:assert/strict';
import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { toBinary } from '@bufbuild/protobuf';
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedHandleCall,
} from '@grpc/grpc-js';
import type { Context } from '../../base/context.ts';
import { unavailable, unimplemented } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { callContext, type ServedMethod, servedMethods } from '../call-context.ts';
import { StatusSchema } from '../gen/google/rpc/status_pb.js';
import { type InFlightCall, InFlightCalls } from '../in-flight.ts';
import { failureOf } from '../iteration.ts';
import type { ServedService } from '../service.ts';
import { statusOf } from '../status.ts';
import type { ConnectionSource } from '../unix-listener.ts';
import { deserializer, readHeaders, serializer, statusDetailsHeader } from './codec.ts';
import { callEnded, writeAll } from './flow.ts';

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

type UnaryCall = ServerUnaryCall<unknown, unknown>;
type ReadableCall = ServerReadableStream<unknown, unknown>;
type WritableCall = ServerWritableStream<unknown, unknown>;
type DuplexCall = ServerDuplexStream<unknown, unknown>;
type AnyCall = EventEmitter & Pick<UnaryCall, 'metadata' | 'getDeadline'>;

/** A call under way: its context, and the end of it. */
interface Scope extends Disposable {
  readonly ctx: Context;
}

type Respond = (failure: Failure | null, message?: unknown) => void;

/** What grpc-js takes for a failed call. */
interface Failure {
  readonly code: number;
  readonly details: string;
  readonly metadata?: Metadata;
}

const kinds = {
  unary: 'unary',
  client_streaming: 'clientStream',
  server_streaming: 'serverStream',
  bidi_streaming: 'bidi',
} as const;

export class GrpcServer implements AsyncDisposable {
  readonly #log: Logger;
  readonly #calls: InFlightCalls;
  readonly #server: Server;
  readonly #injector: ReturnType<Server['createConnectionInjector']>;
  readonly #sockets = new Set<Socket>();
  readonly #running = new Set<AbortController>();
  #stopping = false;

  constructor(dependencies: GrpcServerDependencies, options: GrpcServerOptions = {}) {
    this.#log = dependencies.log;
    this.#calls = dependencies.calls ?? new InFlightCalls();
    const maxMessageBytes = options.maxMessageBytes ?? limits.grpcMessageBytes;
    this.#server = new Server({
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.max_send_message_length': maxMessageBytes,
      'grpc.enable_channelz': 0,
    });
    allowStreamResets(this.#server);
    for (const served of dependencies.services)
      for (const method of servedMethods(served)) this.#register(method);
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** Serves the connections of `source`. */
  attach(source: ConnectionSource): void {
    source.onConnection(({ socket }) => this.serveSocket(socket));
  }

  /** Serves one connection, which then belongs to the server. */
  serveSocket(socket: Socket): void {
    if (this.#stopping) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', (error) => this.#log.debug({ error }, 'connection failed'));
    this.#injector.injectConnection(socket);
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
    this.#injector.drain(graceMs + limits.cleanupMs);
    const { promise: graceOver, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, graceMs);
    await Promise.race([closed, graceOver]);
    clearTimeout(timer);
    for (const call of this.#running) call.abort(unavailable('the server is shutting down'));
    const { promise: abandoned, resolve: abandon } = Promise.withResolvers<void>();
    // A moment for the statuses of the calls just told to leave.
    const last = setTimeout(abandon, limits.grpcAbandonMs);
    await Promise.race([closed, abandoned]);
    clearTimeout(last);
    for (const socket of this.#sockets) socket.destroy();
    this.#injector.destroy();
    this.#server.forceShutdown();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown(0);
  }

  #register(method: ServedMethod): void {
    const { descriptor } = method;
    const handlers: Record<typeof descriptor.methodKind, UntypedHandleCall> = {
      unary: this.#unary(method),
      client_streaming: this.#clientStreaming(method),
      server_streaming: (call: WritableCall) => void this.#serverStreaming(method, call, call.request),
      bidi_streaming: (call: DuplexCall) => void this.#bidi(method, call),
    };
    const fresh = this.#server.register(
      `/${method.name}`,
      handlers[descriptor.methodKind],
      serializer(descriptor.output),
      deserializer(descriptor.input),
      kinds[descriptor.methodKind],
    );
    assert(fresh, `${method.name} is served twice`);
  }

  #begin(method: ServedMethod, call: AnyCall): Scope {
    const controller = new AbortController();
    const deadline = call.getDeadline();
    const deadlineMs = deadline instanceof Date ? deadline.getTime() : deadline;
    const headers = readHeaders(call.metadata);
    const ctx = callContext(this.#log, method.name, headers, controller.signal);
    const onEnd = (): void => controller.abort(callEnded(deadlineMs));
    call.once('cancelled', onEnd);
    this.#running.add(controller);
    const entry = this.#calls.begin('grpc', method.name, ctx.namespace);
    return {
      ctx,
      [Symbol.dispose]: () => {
        call.off('cancelled', onEnd);
        this.#running.delete(controller);
        entry[Symbol.dispose]();
      },
    };
  }

  #unary(method: ServedMethod): UntypedHandleCall {
    return (call: UnaryCall, respond: Respond) =>
      void this.#answer(method, call, (ctx, handler) => handler(ctx, call.request)).then(
        (message) => respond(null, message),
        (error: unknown) => respond(this.#failed(method, error)),
      );
  }

  #clientStreaming(method: ServedMethod): UntypedHandleCall {
    return (call: ReadableCall, respond: Respond) =>
      void this.#answer(method, call, (ctx, handler) => handler(ctx, requestsOf(call))).then(
        (message) => respond(null, message),
        (error: unknown) => respond(this.#failed(method, error)),
      );
  }

  async #answer(
    method: ServedMethod,
    call: AnyCall,
    handle: (ctx: Context, handler: NonNullable<ServedMethod['handler']>) => unknown,
  ): Promise<unknown> {
    using scope = this.#begin(method, call);
    try {
      return await handle(scope.ctx, handlerOf(method));
    } catch (error) {
      throw failureOf(error, scope.ctx.signal);
    }
  }

  async #serverStreaming(
    method: ServedMethod,
    call: WritableCall | DuplexCall,
    request: unknown,
  ): Promise<void> {
    try {
      using scope = this.#begin(method, call);
      try {
        const messages = handlerOf(method)(scope.ctx, request) as AsyncIterable<unknown>;
        await writeAll(call, messages, scope.ctx.signal);
      } catch (error) {
        throw failureOf(error, scope.ctx.signal);
      }
    } catch (error) {
      call.emit('error', this.#failed(method, error));
      return;
    }
    call.end();
  }

  async #bidi(method: ServedMethod, call: DuplexCall): Promise<void> {
    await this.#serverStreaming(method, call, requestsOf(call));
  }

  #failed(method: ServedMethod, error: unknown): Failure {
    const status = statusOf(error);
    const failure = { code: status.code, details: status.message };
    this.#log.debug({ method: method.name, code: status.code, error }, 'call failed');
    if (status.details.length === 0) return failure;
    const metadata = new Metadata();
    metadata.set(statusDetailsHeader, Buffer.from(toBinary(StatusSchema, status)));
    return { ...failure, metadata };
  }
}

/**
 * Go's clients reset a stream when they have what they came for: reading a blob by ReadAt is a thousand resets a
 * second, and Node takes more than 1000 for an attack and drops the connection with INTERNAL_ERROR. grpc-js has no
 * option of its own for node:http2's; whoever reaches this socket is root already.
 */
function allowStreamResets(server: Server): void {
  const { commonServerOptions } = server as unknown as {
    readonly commonServerOptions: { streamResetBurst?: number; streamResetRate?: number };
  };
  commonServerOptions.streamResetBurst = streamResetsPerSecond;
  commonServerOptions.streamResetRate = streamResetsPerSecond;
}

const streamResetsPerSecond = 1_000_000;

function handlerOf(method: ServedMethod): NonNullable<ServedMethod['handler']> {
  if (method.handler === undefined) throw unimplemented(`method ${method.name}`);
  return method.handler;
}

/** The client's messages, read as they are asked for; leaving early does not end the call. */
async function* requestsOf(call: ReadableCall | DuplexCall): AsyncGenerator<unknown, void> {
  yield* call.iterator({ destroyOnReturn: false });
}
