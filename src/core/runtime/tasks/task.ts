/** One task: its bundle, the way to its shim, and those who wait for its processes. */
import { raceSignal } from '../../../base/bounded-wait.ts';
import { type NamespacedContext, never } from '../../../base/context.ts';
import { deferred } from '../../../base/deferred.ts';
import { hasCode } from '../../../base/errors.ts';
import type { ExecId } from '../../../base/identifiers.ts';
import type { ProcessOperations } from '../../../platform/platform.ts';
import { identify, type ProcessIdentity } from '../../../platform/process-identity.ts';
import { instantOf } from '../../../wire/timestamps.ts';
import type { OutstandingCall } from '../calls/outstanding-calls.ts';
import type { ShimLink } from '../shims/shim-link.ts';
import type { ProcessEnd } from '../task-manager.ts';
import type { Bundle } from './bundle.ts';

export class Task {
  readonly #waits = new Map<ExecId | '', Promise<ProcessEnd>>();
  readonly bundle: Bundle;
  readonly link: ShimLink;
  /** Init ("") and execs as far as their pids were seen; told from those who get the pid later. */
  readonly processes = new Map<string, ProcessIdentity>();
  /** Resolves when the shim is gone for good and the task was cleaned up without it. */
  readonly abandoned = deferred<ProcessEnd>();
  /** A delete that is under way: that the shim does not have the task any more proves nothing then. */
  deletion: Promise<ProcessEnd> | undefined;
  /** Processes that were killed and have not ended yet, each with its entry among the calls. */
  readonly dying = new Map<ExecId | '', { readonly call: OutstandingCall; escalating: boolean }>();
  readonly #resources: DisposableStack;

  /** Holds the link until it is released. */
  constructor(parts: { bundle: Bundle; link: ShimLink; resources: DisposableStack }) {
    this.bundle = parts.bundle;
    this.link = parts.link;
    this.#resources = parts.resources;
    this.link.holders.add(this);
  }

  get key(): string {
    return taskKey(this.bundle.namespace, this.bundle.id);
  }

  /** The shim said which pid init ("") or an exec has; one that is gone already is not noted. */
  learnProcess(processes: Pick<ProcessOperations, 'startTicks'>, execId: ExecId | '', pid: number): void {
    const identity = identify(processes, pid);
    if (identity !== undefined) this.processes.set(execId, identity);
  }

  /** Disposed of when the task is released. */
  keep(resource: Disposable): void {
    this.#resources.use(resource);
  }

  /** Lets go of the link and of what is kept, as the shim's log. */
  release(): void {
    this.link.holders.delete(this);
    this.#resources.dispose();
  }

  /**
   * The end of init ("") or of an exec; when the shim dies for good meanwhile, what the clean-up found. All who wait for
   * a process share one call: ttrpc cannot take a call back, and clients that come and go would fill the connection.
   */
  ended(ctx: Pick<NamespacedContext, 'signal'>, execId: ExecId | ''): Promise<ProcessEnd> {
    let wait = this.#waits.get(execId);
    if (wait === undefined) {
      wait = this.#wait(execId).finally(() => this.#waits.delete(execId));
      // Whoever asked may have gone.
      wait.catch(() => {});
      this.#waits.set(execId, wait);
    }
    return raceSignal(wait, ctx.signal);
  }

  /** Asks each shim that takes over anew. */
  async #wait(execId: string): Promise<ProcessEnd> {
    const { id, namespace } = this.bundle;
    for (let repeated = false; ; repeated = true) {
      const connection = await this.link.connection({ signal: never }).catch(() => undefined);
      if (connection === undefined) return this.abandoned.promise;
      try {
        const { exitStatus, exitedAt } = await connection.call('wait', { id, execId }, { namespace });
        return { pid: 0, exitStatus, exitedAt: instantOf(exitedAt) };
      } catch (error) {
        if (await connection.lostBy(error)) continue;
        // The shim that took over does not have the container: its clean-up is on the way.
        if (repeated && execId === '' && hasCode(error, 'NotFound')) return this.abandoned.promise;
        throw error;
      }
    }
  }
}

export const taskKey = (namespace: string, id: string): string => `${namespace}/${id}`;
