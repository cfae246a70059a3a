/**
 * The context of a served call, made from what its protocol carried: one function for gRPC and ttrpc, so that names
 * are checked once and alike. Also the handlers of a ServedService, looked up by method.
 */
import type { DescMethod } from '@bufbuild/protobuf';
import type { Context } from '../base/context.ts';
import { wrap } from '../base/errors.ts';
import { parseLeaseId, parseNamespace } from '../base/identifiers.ts';
import type { Logger } from '../base/logger.ts';
import type { ServedService } from './service.ts';

export interface CallHeaders {
  /** Undefined or "" when the client sent none. */
  readonly namespace: string | undefined;
  readonly lease: string | undefined;
}

/** A missing or bad namespace is not an error here: some calls need none, and `requireNamespace` answers for the others. */
export function callContext(log: Logger, method: string, headers: CallHeaders, signal: AbortSignal): Context {
  const named = namespaceOf(headers.namespace);
  const lease = headers.lease === undefined || headers.lease === '' ? undefined : parseLeaseId(headers.lease);
  return Object.freeze({
    signal,
    log: log.child(named.namespace === undefined ? { method } : { method, namespace: named.namespace }),
    ...named,
    ...(lease === undefined ? {} : { lease }),
  });
}

function namespaceOf(header: string | undefined): Pick<Context, 'namespace' | 'namespaceError'> {
  if (header === undefined || header === '') return {};
  try {
    return { namespace: parseNamespace(header) };
  } catch (error) {
    return { namespaceError: wrap('namespace validation', error) };
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
