/** One connection of the ttrpc server: its streams, from request to last frame. */
import type { Duplex } from 'node:stream';
import { fromBinary } from '@bufbuild/protobuf';
import type { Context } from '../../base/context.ts';
import {
  deadlineExceeded,
  invalidArgument,
  resourceExhausted,
  unavailable,
  unimplemented,
} from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { callContext, type ServedMethod } from '../call-context.ts';
import { type Request, RequestSchema } from '../gen/ttrpc/ttrpc_pb.js';
import type { InFlightCalls, RunningCall, ServedCall } from '../in-flight.ts';
import { failureOf, untilAborted } from '../iteration.ts';
import { statusOf } from '../status.ts';
import { connectionLost, FrameChannel } from './channel.ts';
import {
  decodeMessage,
  encodeFailure,
  encodeMessage,
  encodeResponse,
  metadataOf,
  readMetadata,
  timeoutMsOf,
} from './codec.ts';
import { type Frame, frameFlags, frameTypes, hasFlag, oversized, type Parsed } from './frame.ts';
import { Inbox } from './inbox.ts';

/** Methods by service and name. */
export type ServerMethods = ReadonlyMap<string, ReadonlyMap<string, ServedMethod>>;

export interface ServerConnectionDependencies {
  readonly log: Logger;
  readonly calls: InFlightCalls;
  readonly methods: ServerMethods;
  /** Who is at the other end, where that is known. */
  readonly peer: ServedCall['peer'];
}

interface ServerStream {
  readonly id: number;
  readonly method: ServedMethod;
  readonly request: Request;
  readonly controller: AbortController;
  /** Messages of a client that streams; undefined when the request was all. */
  readonly inbox: Inbox<unknown> | undefined;
}

/** setTimeout's largest wait. */
const timerMsMax = 2 ** 31 - 1;
const noBytes = new Uint8Array();

export class ServerConnection {
  readonly #dependencies: ServerConnectionDependencies;
  readonly #channel: FrameChannel;
  readonly #streams = new Map<number, ServerStream>();
  readonly #idle = Promise.withResolvers<void>();
  #lastStreamId = 0;
  #ending = false;

  constructor(socket: Duplex, dependencies: ServerConnectionDependencies) {
    this.#dependencies = dependencies;
    this.#channel = new FrameChannel(socket, {
      onParsed: (parsed) => this.#onParsed(parsed),
      onClosed: () => this.abort(connectionLost()),
    });
  }

  get closed(): Promise<void> {
    return this.#channel.closed;
  }

  /** Ends the connection when no call is left, and takes no new ones. */
  async endWhenIdle(): Promise<void> {
    this.#ending = true;
    if (this.#streams.size === 0) this.#idle.resolve();
    await Promise.race([this.#idle.promise, this.#channel.closed]);
    this.#channel.end();
  }

  /** Fires the signals of all calls. */
  abort(reason: Error): void {
    for (const stream of this.#streams.values()) {
      stream.controller.abort(reason);
      stream.inbox?.end(reason);
    }
  }

  destroy(): void {
    this.#channel.destroy();
  }

  #onParsed(parsed: Parsed): void {
    const streamId = parsed.kind === 'frame' ? parsed.frame.streamId : parsed.streamId;
    try {
      if (parsed.kind === 'oversized') throw oversized(parsed.lengthBytes);
      if (streamId % 2 !== 1) throw invalidArgument('StreamID must be odd for client initiated streams');
      if (parsed.frame.type === frameTypes.request) this.#onRequest(parsed.frame);
      else if (parsed.frame.type === frameTypes.data) this.#onData(parsed.frame);
    } catch (error) {
      this.#respond(streamId, encodeFailure(error));
    }
  }

  #onRequest(frame: Frame): void {
    if (frame.streamId <= this.#lastStreamId)
      throw invalidArgument('StreamID cannot be re-used and must increment');
    this.#lastStreamId = frame.streamId;
    if (this.#ending) throw unavailable('the server is shutting down');
    if (this.#streams.size >= limits.ttrpcInFlight)
      throw resourceExhausted(`more than ${limits.ttrpcInFlight} calls at once on one connection`);
    const request = decodeRequest(frame);
    const method = this.#find(request);
    const streaming = isClientStreaming(method);
    const controller = new AbortController();
    const inbox = streaming
      ? new Inbox<unknown>(this.#channel, (error) => controller.abort(error))
      : undefined;
    const stream: ServerStream = { id: frame.streamId, method, request, controller, inbox };
    // A peer may send the first message of a stream with the request.
    if (streaming && request.payload.byteLength > 0)
      inbox?.push(decodeMessage(method.descriptor.input, request.payload), request.payload.byteLength);
    if (hasFlag(frame, frameFlags.remoteClosed)) inbox?.end();
    this.#streams.set(stream.id, stream);
    void this.#run(stream);
  }

  #onData(frame: Frame): void {
    const stream = this.#streams.get(frame.streamId);
    if (stream === undefined) {
      // The end of a call may cross with the client's data.
      if (frame.streamId <= this.#lastStreamId) return;
      throw invalidArgument('StreamID is no longer active');
    }
    if (stream.inbox === undefined) throw invalidArgument('data handling error: the stream takes no data');
    if (!hasFlag(frame, frameFlags.noData)) {
      try {
        stream.inbox.push(decodeMessage(stream.method.descriptor.input, frame.data), frame.data.byteLength);
      } catch (error) {
        stream.inbox.end(error);
        return;
      }
    }
    if (hasFlag(frame, frameFlags.remoteClosed)) stream.inbox.end();
  }

  #find(request: Request): ServedMethod {
    const methods = this.#dependencies.methods.get(request.service);
    if (methods === undefined) throw unimplemented(`service ${request.service}`);
    const method = methods.get(request.method);
    if (method?.handler === undefined) throw unimplemented(`method ${request.method}`);
    return method;
  }

  async #run(stream: ServerStream): Promise<void> {
    const { signal } = stream.controller;
    using _deadline = this.#deadline(stream);
    try {
      const ctx = callContext(
        this.#dependencies.log,
        stream.method.name,
        readMetadata(stream.request),
        signal,
      );
      using running = this.#begin(ctx, stream);
      try {
        await running.run(() => this.#answer(ctx, stream, running));
      } catch (thrown) {
        running.failed(statusOf(failureOf(thrown, signal)).code);
        throw thrown;
      }
    } catch (thrown) {
      const error = failureOf(thrown, signal);
      this.#dependencies.log.debug({ method: stream.method.name, error }, 'call failed');
      this.#respond(stream.id, encodeFailure(error));
    } finally {
      this.#streams.delete(stream.id);
      stream.inbox?.discard();
      if (this.#ending && this.#streams.size === 0) this.#idle.resolve();
    }
  }

  #begin(ctx: Context, { method, request }: ServerStream): RunningCall {
    const { calls, peer } = this.#dependencies;
    return calls.begin({
      protocol: 'ttrpc',
      method: method.name,
      kind: method.descriptor.methodKind,
      namespace: ctx.namespace,
      timeoutMs: timeoutMsOf(request),
      peer,
      header: (name) => metadataOf(request, name),
    });
  }

  async #answer(ctx: Context, stream: ServerStream, running: RunningCall): Promise<void> {
    const { descriptor, handler } = stream.method;
    if (stream.inbox === undefined) running.received();
    const argument = stream.inbox ?? decodeMessage(descriptor.input, stream.request.payload);
    const answer = handler?.(ctx, argument);
    if (isServerStreaming(stream.method)) {
      for await (const message of untilAborted(answer as AsyncIterable<unknown>, ctx.signal)) {
        this.#data(stream.id, 0, encodeMessage(descriptor.output, message));
        running.sent();
        await this.#channel.drained(ctx.signal);
      }
      this.#data(stream.id, frameFlags.remoteClosed | frameFlags.noData, noBytes);
      return;
    }
    const message = await answer;
    this.#send(stream.id, encodeResponse(encodeMessage(descriptor.output, message)));
    running.sent();
  }

  #deadline(stream: ServerStream): Disposable {
    const timeoutMs = timeoutMsOf(stream.request);
    if (timeoutMs === undefined) return { [Symbol.dispose]: () => {} };
    const timer = setTimeout(
      () => {
        const reason = deadlineExceeded('context deadline exceeded');
        stream.controller.abort(reason);
        stream.inbox?.end(reason);
      },
      Math.min(timeoutMs, timerMsMax),
    );
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  }

  #data(streamId: number, flags: number, data: Uint8Array): void {
    this.#channel.send({ streamId, type: frameTypes.data, flags, data });
  }

  #send(streamId: number, data: Uint8Array): void {
    this.#channel.send({ streamId, type: frameTypes.response, flags: 0, data });
  }

  /** Of a failure: a client that has gone need not hear of it. */
  #respond(streamId: number, data: Uint8Array): void {
    try {
      this.#send(streamId, data);
    } catch (error) {
      this.#dependencies.log.debug({ streamId, error }, 'could not answer');
    }
  }
}

function decodeRequest(frame: Frame): Request {
  try {
    return fromBinary(RequestSchema, frame.data);
  } catch (error) {
    throw invalidArgument(`unmarshal request error: ${(error as Error).message}`, error);
  }
}

const isClientStreaming = ({ descriptor: { methodKind } }: ServedMethod): boolean =>
  methodKind === 'client_streaming' || methodKind === 'bidi_streaming';

const isServerStreaming = ({ descriptor: { methodKind } }: ServedMethod): boolean =>
  methodKind === 'server_streaming' || methodKind === 'bidi_streaming';
