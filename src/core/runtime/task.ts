/** One task: its bundle and the way to its shim. */
import type { NamespacedContext } from '../../base/context.ts';
import { deferred } from '../../base/deferred.ts';
import { hasCode } from '../../base/errors.ts';
import type { ExecId } from '../../base/identifiers.ts';
import { raceSignal } from '../../base/keyed-lock.ts';
import type { CallOptions } from '../../wire/service.ts';
import { instantOf } from '../../wire/timestamps.ts';
import type { Bundle } from './bundle.ts';
import type { ShimConnection, TaskClient } from './shim-connection.ts';
import type { ProcessEnd } from './task-manager.ts';

export class Task {
  readonly #waits = new Map<ExecId | '', Promise<ProcessEnd>>();
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

  /**
   * The end of init ("") or of an exec; when the shim dies meanwhile, what its clean-up found. All who wait for a process
   * share one call: ttrpc cannot take a call back, and clients that come and go would fill the connection with them.
   */
  ended(ctx: NamespacedContext, execId: ExecId | ''): Promise<ProcessEnd> {
    let wait = this.#waits.get(execId);
    if (wait === undefined) {
      wait = this.#wait(execId).finally(() => this.#waits.delete(execId));
      // Whoever asked may have gone.
      wait.catch(() => {});
      this.#waits.set(execId, wait);
    }
    return raceSignal(wait, ctx.signal);
  }

  async #wait(execId: string): Promise<ProcessEnd> {
    const { id, namespace } = this.bundle;
    try {
      const { exitStatus, exitedAt } = await this.shim.call('wait', { id, execId }, { namespace });
      return { pid: 0, exitStatus, exitedAt: instantOf(exitedAt) };
    } catch (error) {
      if (!hasCode(error, 'Unavailable')) throw error;
      return this.abandoned.promise;
    }
  }
}

export const taskKey = (namespace: string, id: string): string => `${namespace}/${id}`;
