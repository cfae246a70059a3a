/**
 * What travels with a call: in whose namespace it acts, under which lease, and until when.
 *
 * Contexts are frozen values; a changed one is a new one. `ctx` is the first parameter of namespaced calls,
 * low-level helpers take `{ signal }` last.
 */
import { ContainerdError, failedPrecondition } from './errors.ts';
import type { LeaseId, Namespace } from './identifiers.ts';
import type { Logger } from './logger.ts';

export interface Context {
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly namespace?: Namespace;
  /** Why the namespace that came with the call is none: told only to calls that need one. */
  readonly namespaceError?: ContainerdError;
  /** Resources made by this call are recorded in this lease in the same transaction. */
  readonly lease?: LeaseId;
}

export interface NamespacedContext extends Context {
  readonly namespace: Namespace;
}

/** A signal that never aborts. */
export const never = new AbortController().signal;

/** A context that nothing cancels: for the daemon's own work. */
export const background = (log: Logger): Context => Object.freeze({ signal: never, log });

export const withNamespace = (ctx: Context, namespace: Namespace): NamespacedContext =>
  Object.freeze({ ...ctx, namespace });

export function withLease<C extends Context>(ctx: C, lease: LeaseId): C {
  return Object.freeze({ ...ctx, lease });
}

/** Narrows the signal: aborted when either the context's or `signal` is. */
export function withSignal<C extends Context>(ctx: C, signal: AbortSignal): C {
  return Object.freeze({ ...ctx, signal: AbortSignal.any([ctx.signal, signal]) });
}

export function withTimeout<C extends Context>(ctx: C, timeoutMs: number): C {
  return withSignal(ctx, AbortSignal.timeout(timeoutMs));
}

/** The same call's identity under a time box of its own: clean-up must go on when the caller has gone. */
export function forCleanup<C extends Context>(ctx: C, timeoutMs: number): C {
  return Object.freeze({ ...ctx, signal: AbortSignal.timeout(timeoutMs) });
}

/** Errors, as containerd answers them: FailedPrecondition without a namespace, InvalidArgument for a bad one. */
export function requireNamespace(ctx: Context): NamespacedContext {
  if (ctx.namespaceError !== undefined) throw ctx.namespaceError;
  if (ctx.namespace === undefined) throw failedPrecondition('namespace is required');
  return ctx as NamespacedContext;
}

/** Throws Canceled or DeadlineExceeded when the signal has fired. */
export function checkSignal(signal: AbortSignal): void {
  if (signal.aborted) throw ContainerdError.from(signal.reason);
}
