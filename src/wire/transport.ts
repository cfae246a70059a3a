/** The client of a service, over whatever can carry the four kinds of calls. */
import type { DescMethod, Message } from '@bufbuild/protobuf';
import { announced, announcedStream } from './client-calls.ts';
import type { CallOptions, Client, Service } from './service.ts';

export interface Transport {
  unary(method: DescMethod, request: unknown, options: CallOptions): Promise<Message>;
  serverStreaming(method: DescMethod, request: unknown, options: CallOptions): AsyncIterable<Message>;
  clientStreaming(
    method: DescMethod,
    requests: AsyncIterable<unknown>,
    options: CallOptions,
  ): Promise<Message>;
  bidi(method: DescMethod, requests: AsyncIterable<unknown>, options: CallOptions): AsyncIterable<Message>;
}

type Requests = AsyncIterable<unknown>;

export function clientOf<S extends Service>(service: S, transport: Transport): Client<S> {
  const callers: Readonly<Record<DescMethod['methodKind'], (method: DescMethod) => unknown>> = {
    unary:
      (method) =>
      (request: unknown, options: CallOptions = {}) =>
        announced(method, options, (known) => transport.unary(method, request, known)),
    server_streaming:
      (method) =>
      (request: unknown, options: CallOptions = {}) =>
        announcedStream(method, options, (known) => transport.serverStreaming(method, request, known)),
    client_streaming:
      (method) =>
      (requests: Requests, options: CallOptions = {}) =>
        announced(method, options, (known) => transport.clientStreaming(method, requests, known)),
    bidi_streaming:
      (method) =>
      (requests: Requests, options: CallOptions = {}) =>
        announcedStream(method, options, (known) => transport.bidi(method, requests, known)),
  };
  return Object.fromEntries(
    service.methods.map((method) => [method.localName, callers[method.methodKind](method)]),
  ) as Client<S>;
}
