/**
 * The ttrpc client: typed clients of any service over one socket, any number of calls at once.
 *
 * ttrpc cannot cancel a call: one that is given up is forgotten here, and goes on at the server until its deadline,
 * when it had one, or until the connection ends. Losing the connection fails every call with Unavailable ("ttrpc: closed").
 */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { DescMethod, Message } from '@bufbuild/protobuf';
import { checkSignal } from '../../base/context.ts';
import { ContainerdError, deadlineExceeded, internal, unavailable } from '../../base/errors.ts';
import { type Response, ResponseSchema } from '../gen/ttrpc/ttrpc_pb.js';
import { failureOf, untilAborted } from '../iteration.ts';
import type { CallOptions, Client, Connection, Service } from '../service.ts';
import { errorOf } from '../status.ts';
import { clientOf, type Transport } from '../transport.ts';
import { connectionLost, FrameChannel } from './channel.ts';
import { decodeMessage, encodeMessage, encodeRequest } from './codec.ts';
import { type Frame, frameFlags, frameTypes, hasFlag, oversized, type Parsed } from './frame.ts';
import { Inbox } from './inbox.ts';

export interface TtrpcClientOptions {
  /** For calls that name none of their own. */
  readonly namespace?: string;
}

/**
 * Connects to `address`, a path or `unix://` and a path. Errors: Unavailable when nobody answers there; Canceled,
 * DeadlineExceeded by the signal.
 */
export async function connectTtrpc(
  address: string,
  options: TtrpcClientOptions & { readonly signal?: AbortSignal } = {},
): Promise<TtrpcConnection> {
  const path = address.startsWith('unix://') ? address.slice('unix://'.length) : address;
  if (options.signal !== undefined) checkSignal(options.signal);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ path });
  const onAbort = (): void => reject(failureOf(undefined, options.signal));
  socket.once('connect', resolve);
  socket.once('error', (error) => reject(unavailable(`connect to ${path}: ${error.message}`, error)));
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
  }
  return new TtrpcConnection(socket, options);
}

interface ClientStream {
  readonly id: number;
  readonly inbox: Inbox<Frame>;
  readonly signal: AbortSignal;
}

const streamIdMax = 2 ** 32 - 1;
const noBytes = new Uint8Array();

export class TtrpcConnection implements Connection {
  readonly #channel: FrameChannel;
  readonly #options: TtrpcClientOptions;
  readonly #streams = new Map<number, ClientStream>();
  readonly #transport: Transport = {
    unary: (method, request, options) => this.#unary(method, request, options),
    serverStreaming: (method, request, options) => this.#server(method, request, options),
    clientStreaming: (method, requests, options) => this.#clientStream(method, requests, options),
    bidi: (method, requests, options) => this.#bidi(method, requests, options),
  };
  #nextStreamId = 1;
  #lost = false;

  /** `socket` is connected and belongs to the connection from here on. */
  constructor(socket: Duplex, options: TtrpcClientOptions = {}) {
    this.#options = options;
    this.#channel = new FrameChannel(socket, {
      onParsed: (parsed) => this.#onParsed(parsed),
      onClosed: () => this.#onClosed(),
    });
  }

  get closed(): Promise<void> {
    return this.#channel.closed;
  }

  client<S extends Service>(service: S): Client<S> {
    return clientOf(service, this.#transport);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#channel.destroy();
    await this.closed;
  }

  #onParsed(parsed: Parsed): void {
    if (parsed.kind === 'oversized') {
      this.#streams.get(parsed.streamId)?.inbox.end(oversized(parsed.lengthBytes));
      return;
    }
    // What comes for a call that was given up is dropped.
    this.#streams.get(parsed.frame.streamId)?.inbox.push(parsed.frame, parsed.frame.data.byteLength);
  }

  #onClosed(): void {
    this.#lost = true;
    for (const stream of this.#streams.values()) stream.inbox.end(connectionLost());
  }

  /** Sends the request; dispose the result when the call is over. */
  #open(
    method: DescMethod,
    flags: number,
    payload: Uint8Array,
    options: CallOptions,
  ): ClientStream & Disposable {
    if (options.signal !== undefined) checkSignal(options.signal);
    if (this.#lost) throw connectionLost();
    if (this.#nextStreamId > streamIdMax) throw unavailable('ttrpc: the connection has no stream ids left');
    const id = this.#nextStreamId;
    this.#nextStreamId += 2;
    const data = encodeRequest({
      service: method.parent.typeName,
      method: method.name,
      payload,
      timeoutMs: options.timeoutMs,
      namespace: options.namespace ?? this.#options.namespace,
      lease: options.lease,
      headers: options.headers ?? {},
    });
    const bound = signalOf(options);
    const stream = { id, inbox: new Inbox<Frame>(this.#channel), signal: bound.signal };
    this.#streams.set(id, stream);
    const release = (): void => {
      bound[Symbol.dispose]();
      this.#streams.delete(id);
      stream.inbox.discard();
    };
    try {
      this.#channel.send({ streamId: id, type: frameTypes.request, flags, data });
    } catch (error) {
      release();
      throw error;
    }
    return { ...stream, [Symbol.dispose]: release };
  }

  async #unary(method: DescMethod, request: unknown, options: CallOptions): Promise<Message> {
    using stream = this.#open(method, 0, encodeMessage(method.input, request), options);
    return await finalResponse(method, stream);
  }

  async #clientStream(
    method: DescMethod,
    requests: AsyncIterable<unknown>,
    options: CallOptions,
  ): Promise<Message> {
    using stream = this.#open(method, frameFlags.remoteOpen, noBytes, options);
    using sending = this.#send(method, stream, requests);
    try {
      return await finalResponse(method, stream);
    } catch (error) {
      throw sending.failure ?? error;
    }
  }

  async *#server(method: DescMethod, request: unknown, options: CallOptions): AsyncGenerator<Message, void> {
    const payload = encodeMessage(method.input, request);
    using stream = this.#open(method, frameFlags.remoteClosed, payload, options);
    yield* responses(method, stream);
  }

  async *#bidi(
    method: DescMethod,
    requests: AsyncIterable<unknown>,
    options: CallOptions,
  ): AsyncGenerator<Message, void> {
    using stream = this.#open(method, frameFlags.remoteOpen, noBytes, options);
    using sending = this.#send(method, stream, requests);
    try {
      yield* responses(method, stream);
    } catch (error) {
      throw sending.failure ?? error;
    }
  }

  /** Sends requests beside the call; dispose stops it when the call has ended without needing them all. */
  #send(
    method: DescMethod,
    stream: ClientStream,
    requests: AsyncIterable<unknown>,
  ): Disposable & { failure?: ContainerdError } {
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, stream.signal]);
    const sending: Disposable & { failure?: ContainerdError } = { [Symbol.dispose]: () => over.abort() };
    const data = (flags: number, bytes: Uint8Array): void =>
      this.#channel.send({ streamId: stream.id, type: frameTypes.data, flags, data: bytes });
    const run = async (): Promise<void> => {
      for await (const request of untilAborted(requests, signal)) {
        data(0, encodeMessage(method.input, request));
        await this.#channel.drained(signal);
      }
      data(frameFlags.remoteClosed | frameFlags.noData, noBytes);
    };
    run().catch((error: unknown) => {
      if (signal.aborted) return;
      sending.failure = ContainerdError.from(error);
      stream.inbox.end(sending.failure);
    });
    return sending;
  }
}

/** The caller's signal and time-out as one. */
function signalOf(options: CallOptions): Disposable & { signal: AbortSignal } {
  const { signal, timeoutMs } = options;
  if (timeoutMs === undefined)
    return { signal: signal ?? new AbortController().signal, [Symbol.dispose]: () => {} };
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(deadlineExceeded('context deadline exceeded')), timeoutMs);
  return {
    signal: signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]),
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}

function decodeResponse(frame: Frame): Response {
  const response = decodeMessage(ResponseSchema, frame.data) as Response;
  const error = response.status === undefined ? undefined : errorOf(response.status);
  if (error !== undefined) throw error;
  return response;
}

async function finalResponse(method: DescMethod, stream: ClientStream): Promise<Message> {
  for await (const frame of untilAborted(stream.inbox, stream.signal)) {
    if (frame.type === frameTypes.response)
      return decodeMessage(method.output, decodeResponse(frame).payload);
    if (frame.type === frameTypes.data) throw internal('ttrpc: data on a call that has none');
  }
  throw connectionLost();
}

async function* responses(method: DescMethod, stream: ClientStream): AsyncGenerator<Message, void> {
  for await (const frame of untilAborted(stream.inbox, stream.signal)) {
    if (frame.type === frameTypes.response) {
      // A stream may be answered by a single message.
      const { payload } = decodeResponse(frame);
      if (payload.byteLength > 0) yield decodeMessage(method.output, payload);
      return;
    }
    if (frame.type !== frameTypes.data) continue;
    if (!hasFlag(frame, frameFlags.noData)) yield decodeMessage(method.output, frame.data);
    if (hasFlag(frame, frameFlags.remoteClosed)) return;
  }
  throw connectionLost();
}
