/**
 * The gRPC client: typed clients of any service over one unix socket. Errors come back as the server meant them
 * (status.ts); a call on a connection that cannot be made fails with Unavailable at once and does not wait.
 */
import type { Readable, Writable } from 'node:stream';
import { type DescMethod, fromBinary, type Message } from '@bufbuild/protobuf';
import {
  connectivityState,
  credentials,
  type CallOptions as GrpcCallOptions,
  Client as GrpcClient,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { checkSignal } from '../../base/context.ts';
import { ContainerdError } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { StatusSchema } from '../gen/google/rpc/status_pb.js';
import { failureOf } from '../iteration.ts';
import type { CallOptions, Client, Connection, Service } from '../service.ts';
import { errorOf } from '../status.ts';
import { clientOf, type Transport } from '../transport.ts';
import { deserializer, leaseHeader, namespaceHeader, serializer, statusDetailsHeader } from './codec.ts';
import { writeAll } from './flow.ts';

export interface GrpcClientOptions {
  /** Largest message, each way. */
  readonly maxMessageBytes?: number;
  /** For calls that name none of their own. */
  readonly namespace?: string;
}

/** A client call of grpc-js, as far as all kinds have it. */
interface RunningCall {
  cancel(): void;
}

interface MethodOnWire {
  readonly path: string;
  readonly serialize: (message: unknown) => Buffer;
  readonly deserialize: (bytes: Buffer) => Message;
}

/** Connects to `address`, a path or `unix://` and a path. Nothing is sent before the first call. */
export function connectGrpc(address: string, options: GrpcClientOptions = {}): Connection {
  return new GrpcConnection(address, options);
}

class GrpcConnection implements Connection {
  readonly closed: Promise<void>;
  readonly #client: GrpcClient;
  readonly #options: GrpcClientOptions;

  readonly #transport: Transport = {
    unary: (method, request, options) => this.#unary(wireOf(method), request, options),
    serverStreaming: (method, request, options) => this.#server(wireOf(method), request, options),
    clientStreaming: (method, requests, options) => this.#clientStream(wireOf(method), requests, options),
    bidi: (method, requests, options) => this.#bidi(wireOf(method), requests, options),
  };

  constructor(address: string, options: GrpcClientOptions) {
    const maxMessageBytes = options.maxMessageBytes ?? limits.grpcMessageBytes;
    const path = address.startsWith('unix://') ? address.slice('unix://'.length) : address;
    this.#options = options;
    this.#client = new GrpcClient(`unix:${path}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.max_send_message_length': maxMessageBytes,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_channelz': 0,
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc-node.flow_control_window': limits.grpcFlowWindowBytes,
    });
    this.closed = this.#watch();
  }

  client<S extends Service>(service: S): Client<S> {
    return clientOf(service, this.#transport);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    await this.closed;
  }

  /** Once ready, anything but ready means that the connection was lost. */
  async #watch(): Promise<void> {
    const channel = this.#client.getChannel();
    let wasReady = false;
    for (;;) {
      const state = channel.getConnectivityState(false);
      if (state === connectivityState.SHUTDOWN || (wasReady && state !== connectivityState.READY)) return;
      wasReady ||= state === connectivityState.READY;
      await new Promise<void>((resolve) =>
        channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, () => resolve()),
      );
    }
  }

  #metadata(options: CallOptions): Metadata {
    const namespace = options.namespace ?? this.#options.namespace;
    return writeHeaders(options.headers ?? {}, {
      ...(namespace === undefined ? {} : { namespace }),
      ...(options.lease === undefined ? {} : { lease: options.lease }),
    });
  }

  async #unary(wire: MethodOnWire, request: unknown, options: CallOptions): Promise<Message> {
    if (options.signal !== undefined) checkSignal(options.signal);
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    const call = this.#client.makeUnaryRequest(
      wire.path,
      wire.serialize,
      wire.deserialize,
      request,
      this.#metadata(options),
      callOptions(options),
      (error, message) => {
        if (error === null) resolve(message as Message);
        else reject(error);
      },
    );
    using _cancel = cancelOn(options.signal, call);
    try {
      return await promise;
    } catch (error) {
      throw received(error, options);
    }
  }

  async #clientStream(
    wire: MethodOnWire,
    requests: AsyncIterable<unknown>,
    options: CallOptions,
  ): Promise<Message> {
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    const call = this.#client.makeClientStreamRequest(
      wire.path,
      wire.serialize,
      wire.deserialize,
      this.#metadata(options),
      callOptions(options),
      (error, message) => {
        if (error === null) resolve(message as Message);
        else reject(error);
      },
    );
    using _cancel = cancelOn(options.signal, call);
    using sending = new Sending(call, requests);
    try {
      return await promise;
    } catch (error) {
      throw sending.failure ?? received(error, options);
    }
  }

  async *#server(wire: MethodOnWire, request: unknown, options: CallOptions): AsyncGenerator<Message, void> {
    const call = this.#client.makeServerStreamRequest(
      wire.path,
      wire.serialize,
      wire.deserialize,
      request,
      this.#metadata(options),
      callOptions(options),
    );
    using _cancel = cancelOn(options.signal, call);
    yield* responsesOf(call, options);
  }

  async *#bidi(
    wire: MethodOnWire,
    requests: AsyncIterable<unknown>,
    options: CallOptions,
  ): AsyncGenerator<Message, void> {
    const call = this.#client.makeBidiStreamRequest(
      wire.path,
      wire.serialize,
      wire.deserialize,
      this.#metadata(options),
      callOptions(options),
    );
    using _cancel = cancelOn(options.signal, call);
    using sending = new Sending(call, requests);
    try {
      yield* responsesOf(call, options);
    } catch (error) {
      throw sending.failure ?? error;
    }
  }
}

const wireOf = (method: DescMethod): MethodOnWire => ({
  path: `/${method.parent.typeName}/${method.name}`,
  serialize: serializer(method.input),
  deserialize: deserializer(method.output),
});

const callOptions = (options: CallOptions): GrpcCallOptions =>
  options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs };

function cancelOn(signal: AbortSignal | undefined, call: RunningCall): Disposable {
  const cancel = (): void => call.cancel();
  if (signal?.aborted === true) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener('abort', cancel) };
}

/** The messages of the other side; a consumer that leaves early cancels the call. */
async function* responsesOf(
  call: Readable & RunningCall,
  options: CallOptions,
): AsyncGenerator<Message, void> {
  let ended = false;
  try {
    for await (const message of call.iterator({ destroyOnReturn: false })) yield message as Message;
    ended = true;
  } catch (error) {
    ended = true;
    throw received(error, options);
  } finally {
    if (!ended) {
      call.on('error', () => {});
      call.cancel();
    }
  }
}

/** Sends requests beside the call; dispose stops it when the call has ended without needing them all. */
class Sending implements Disposable {
  /** Why the requests could not be made, when their source failed. */
  failure: ContainerdError | undefined;
  readonly #over = new AbortController();

  constructor(call: Writable & RunningCall, requests: AsyncIterable<unknown>) {
    void writeAll(call, requests, this.#over.signal).then(
      () => call.end(),
      (error: unknown) => {
        if (this.#over.signal.aborted) return;
        this.failure = ContainerdError.from(error);
        call.cancel();
      },
    );
    call.once('close', () => this[Symbol.dispose]());
  }

  [Symbol.dispose](): void {
    this.#over.abort();
  }
}

const isServiceError = (thrown: unknown): thrown is ServiceError =>
  thrown instanceof Error && 'details' in thrown && 'metadata' in thrown && 'code' in thrown;

function received(thrown: unknown, options: CallOptions): ContainerdError {
  if (!isServiceError(thrown)) return failureOf(thrown, options.signal);
  // Only our own cancel is answered with the caller's reason; what the server said first stays.
  if (thrown.code === status.CANCELLED && options.signal?.aborted === true)
    return failureOf(thrown, options.signal);
  const packed =
    thrown.metadata instanceof Metadata ? thrown.metadata.get(statusDetailsHeader)[0] : undefined;
  return (
    errorOf({ code: thrown.code, message: thrown.details, details: unpackDetails(packed) }) ??
    failureOf(thrown, options.signal)
  );
}

function unpackDetails(
  packed: string | Buffer | undefined,
): ReturnType<typeof fromBinary<typeof StatusSchema>>['details'] {
  if (!(packed instanceof Buffer)) return [];
  try {
    return fromBinary(StatusSchema, packed).details;
  } catch {
    // Details are an extra: a code and a message are there without them.
    return [];
  }
}

function writeHeaders(
  others: Readonly<Record<string, string>>,
  headers: { namespace?: string; lease?: string },
): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(others)) metadata.set(name, value);
  if (headers.namespace !== undefined) metadata.set(namespaceHeader, headers.namespace);
  if (headers.lease !== undefined) metadata.set(leaseHeader, headers.lease);
  return metadata;
}
