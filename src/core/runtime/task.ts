/** One task: its bundle and the way to its shim. */
import type { NamespacedContext } from '../../base/context.ts';
import { deferred } from '../../base/deferred.ts';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import { raceSignal } from '../../base/keyed-lock.ts';
import type { CallOptions } from '../../wire/service.ts';
import type { Bundle } from './bundle.ts';
import type { ShimConnection, TaskClient } from './shim-connection.ts';
import type { ProcessEnd } from './task-manager.ts';

export class Task {
  readonly bundle: Bundle;
  readonly shim: ShimConnection;
  /** Resolves when the shim died and the task was cleaned up without it. */
  readonly abandoned = deferred<ProcessEnd>();
  /** The shim serves this task alone and goes with it. */
  readonly ownsShim: boolean;
  /** Dropped with the task: the reader of its shim's log. */
  readonly resources: DisposableStack;

  constructor(parts: {
    bundle: Bundle;
    shim: ShimConnection;
    ownsShim: boolean;
    resources: DisposableStack;
  }) {
    this.bundle = parts.bundle;
    this.shim = parts.shim;
    this.ownsShim = parts.ownsShim;
    this.resources = parts.resources;
  }

  get key(): string {
    return taskKey(this.bundle.namespace, this.bundle.id);
  }

  /** Errors: what the shim answers. */
  call<M extends keyof TaskClient>(
    ctx: NamespacedContext,
    method: M,
    request: Parameters<TaskClient[M]>[0],
    { timeoutMs }: { timeoutMs?: number } = {},
  ): Promise<Awaited<ReturnType<TaskClient[M]>>> {
    const options: CallOptions = {
      signal: ctx.signal,
      namespace: ctx.namespace,
      ...(timeoutMs !== undefined && { timeoutMs }),
    };
    return this.shim.call(method, request, options);
  }

  /** As `call`; when the shim dies meanwhile, what its clean-up found. */
  async endOr(ctx: NamespacedContext, call: Promise<ProcessEnd>): Promise<ProcessEnd> {
    try {
      return await call;
    } catch (error) {
      if (!hasCode(error, 'Unavailable')) throw ContainerdError.from(error);
      return raceSignal(this.abandoned.promise, ctx.signal);
    }
  }
}

export const taskKey = (namespace: string, id: string): string => `${namespace}/${id}`;
