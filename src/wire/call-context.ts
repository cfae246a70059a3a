/**
 * The context of a served call, made from what its protocol carried: one function for gRPC and ttrpc, so that names
 * are checked once and alike. Also the handlers of a ServedService, looked up by method.
 */
import type { DescMethod } from '@bufbuild/protobuf';
import type { Context } from '../base/context.ts';
import { wrap } from '../base/errors.ts';
import { type Namespace, parseLeaseId, parseNamespace } from '../base/identifiers.ts';
import type { Logger } from '../base/logger.ts';
import type { ServedService } from './service.ts';

export interface CallHeaders {
  /** Undefined or "" when the client sent none. */
  readonly namespace: string | undefined;
  readonly lease: string | undefined;
}

/**
 * A missing namespace is not an error here: some calls need none, and `requireNamespace` answers for the others.
 * Errors: InvalidArgument for a namespace that is no identifier.
 */
export function callContext(log: Logger, method: string, headers: CallHeaders, signal: AbortSignal): Context {
  const namespace =
    headers.namespace === undefined || headers.namespace === ''
      ? undefined
      : namespaceOf(headers.namespace);
  const lease = headers.lease === undefined || headers.lease === '' ? undefined : parseLeaseId(headers.lease);
  const fields = namespace === undefined ? { method } : { method, namespace };
  return Object.freeze({
    signal,
    log: log.child(fields),
    ...(namespace === undefined ? {} : { namespace }),
    ...(lease === undefined ? {} : { lease }),
  });
}

function namespaceOf(header: string): Namespace {
  try {
    return parseNamespace(header);
  } catch (error) {
    throw wrap('namespace validation', error);
  }
}

/** A method with its handler, the types of both forgotten: the descriptor keeps them together (see `serve`). */
export interface ServedMethod {
  /** `package.Service/Method`. */
  readonly name: string;
  readonly descriptor: DescMethod;
  /** Undefined answers Unimplemented. */
  readonly handler: ((ctx: Context, request: unknown) => unknown) | undefined;
}

export function servedMethods(served: ServedService): ServedMethod[] {
  return served.service.methods.map((descriptor) => {
    const handler = served.handlers[descriptor.localName];
    return {
      name: `${served.service.typeName}/${descriptor.name}`,
      descriptor,
      handler: typeof handler === 'function' ? (handler as NonNullable<ServedMethod['handler']>) : undefined,
    };
  });
}
