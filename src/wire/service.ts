/**
 * How a service is written here, whatever protocol carries it: a plain object with one function a method, typed by
 * the generated service. grpc/ and ttrpc/ each serve such an object and make a client of the same shape.
 */
import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2';
import type { Context } from '../base/context.ts';

export type Service = GenService<GenServiceMethods>;
type Methods<S extends Service> = S extends GenService<infer M> ? M : never;
type Input<M extends GenServiceMethods[string]> = MessageShape<M['input']>;
type InputInit<M extends GenServiceMethods[string]> = MessageInitShape<M['input']>;
type Output<M extends GenServiceMethods[string]> = MessageShape<M['output']>;
type OutputInit<M extends GenServiceMethods[string]> = MessageInitShape<M['output']>;

type Handler<M extends GenServiceMethods[string]> = M['methodKind'] extends 'unary'
  ? (ctx: Context, request: Input<M>) => Promise<OutputInit<M>>
  : M['methodKind'] extends 'server_streaming'
    ? (ctx: Context, request: Input<M>) => AsyncIterable<OutputInit<M>>
    : M['methodKind'] extends 'client_streaming'
      ? (ctx: Context, requests: AsyncIterable<Input<M>>) => Promise<OutputInit<M>>
      : (ctx: Context, requests: AsyncIterable<Input<M>>) => AsyncIterable<OutputInit<M>>;

/** A service's implementation. A method left out answers Unimplemented. */
export type Handlers<S extends Service> = { readonly [K in keyof Methods<S>]?: Handler<Methods<S>[K]> };

/** A service with its implementation, ready to be served. `serve(ContentSchema, { … })` keeps the types together. */
export interface ServedService {
  readonly service: Service;
  readonly handlers: Readonly<Record<string, unknown>>;
}

export const serve = <S extends Service>(service: S, handlers: Handlers<S>): ServedService => ({
  service,
  handlers,
});

/** What a client call takes beside its message. Namespace and lease travel as the protocol's headers. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly namespace?: string;
  readonly lease?: string;
  /** Further headers, by names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The server is told, and the call ends with DeadlineExceeded here too. */
  readonly timeoutMs?: number;
}

type Caller<M extends GenServiceMethods[string]> = M['methodKind'] extends 'unary'
  ? (request: InputInit<M>, options?: CallOptions) => Promise<Output<M>>
  : M['methodKind'] extends 'server_streaming'
    ? (request: InputInit<M>, options?: CallOptions) => AsyncIterable<Output<M>>
    : M['methodKind'] extends 'client_streaming'
      ? (requests: AsyncIterable<InputInit<M>>, options?: CallOptions) => Promise<Output<M>>
      : (requests: AsyncIterable<InputInit<M>>, options?: CallOptions) => AsyncIterable<Output<M>>;

/** A client of a service. Calls throw ContainerdError with the code the server gave. */
export type Client<S extends Service> = { readonly [K in keyof Methods<S>]: Caller<Methods<S>[K]> };

/** A connection on which clients are made: `connection.client(Content)`. */
export interface Connection extends AsyncDisposable {
  client<S extends Service>(service: S): Client<S>;
  /** Resolves when the connection is lost or closed. */
  readonly closed: Promise<void>;
}
