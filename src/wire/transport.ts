/** The client of a service, over whatever can carry the four kinds of calls. */
import type { DescMethod, Message } from '@bufbuild/protobuf';
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
        transport.unary(method, request, options),
    server_streaming:
      (method) =>
      (request: unknown, options: CallOptions = {}) =>
        transport.serverStreaming(method, request, options),
    client_streaming:
      (method) =>
      (requests: Requests, options: CallOptions = {}) =>
        transport.clientStreaming(method, requests, options),
    bidi_streaming:
      (method) =>
      (requests: Requests, options: CallOptions = {}) =>
        transport.bidi(method, requests, options),
  };
  return Object.fromEntries(
    service.methods.map((method) => [method.localName, callers[method.methodKind](method)]),
  ) as Client<S>;
}
