/**
 * Tasks over shims: what the task service asks, passed to the shim that holds the task. Each call goes through
 * task-calls.ts, each story has a file: task-create.ts, task-delete.ts, task-load.ts, shim-loss.ts.
 */
import type { AnyValue } from '../../base/any-value.ts';
import { raceSignal } from '../../base/bounded-wait.ts';
import { background, type Context, type NamespacedContext, withNamespace } from '../../base/context.ts';
import { absent, hasCode, taken } from '../../base/errors.ts';
import type { ContainerId, ExecId } from '../../base/identifiers.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { Logger } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Platform } from '../../platform/platform.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { anyFromWire, anyToWire } from '../../wire/any.ts';
import type { ContainerStore } from '../containers/container-store.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import { parseFilters } from '../filters/filter.ts';
import type { Deadlines } from './calls/deadlines.ts';
import { Escalation } from './calls/escalation.ts';
import { type OutstandingCall, OutstandingCalls, type StuckCall } from './calls/outstanding-calls.ts';
import { TaskCalls } from './calls/task-calls.ts';
import type { ExitLedger } from './loss/exit-ledger.ts';
import { afterShimLoss, type ShimLossDependencies } from './loss/shim-loss.ts';
import type { DaemonAddresses, ShimProgram } from './shims/foreign-shim.ts';
import type { Sharing } from './shims/shim-group.ts';
import type { ShimLink } from './shims/shim-link.ts';
import { ShimLinks } from './shims/shim-links.ts';
import {
  type AttachedProcess,
  type AttachStreams,
  type ShimStreams,
  streamTarget,
} from './streams/attached-process.ts';
import type { StreamManager } from './streams/stream-manager.ts';
import type {
  CreateTask,
  ProcessEnd,
  ProcessIo,
  ProcessState,
  ProcessTarget,
  TaskManager,
  TaskMetric,
} from './task-manager.ts';
import { BundleStore } from './tasks/bundle.ts';
import { checkpointPath, saveCheckpoint } from './tasks/checkpoint.ts';
import { type Task, taskKey } from './tasks/task.ts';
import { stateOf } from './tasks/task-convert.ts';
import { createTask, type TaskCreateDependencies } from './tasks/task-create.ts';
import { deleteProcess, deleteTask } from './tasks/task-delete.ts';
import { loadTasks } from './tasks/task-load.ts';
import { TaskTable } from './tasks/task-table.ts';

export interface ShimTaskManagerDependencies {
  readonly containers: ContainerStore;
  /** Where dumps of tasks are kept. */
  readonly content: ContentStore;
  readonly events: EventPublisher;
  /** What the shims have announced. */
  readonly exits: ExitLedger;
  readonly platform: Platform;
  readonly log: Logger;
}

export interface ShimTaskManagerOptions {
  /** Work directories of tasks. */
  readonly root: string;
  /** Bundles of tasks. */
  readonly state: string;
  /** Directory of the shims' directories; short, for a socket's path is bounded. */
  readonly shimDirectory: string;
  readonly shim: ShimProgram;
  readonly sharing: Sharing;
  readonly deadlines: Deadlines;
  readonly daemon: DaemonAddresses;
  /** Where shims are looked for that PATH does not have. */
  readonly besideDir: string;
}

export class ShimTaskManager implements TaskManager, StreamManager, AsyncDisposable {
  readonly #dependencies: TaskCreateDependencies & ShimLossDependencies;
  readonly #log: Logger;
  readonly #tasks = new TaskTable();
  readonly #outstanding = new OutstandingCalls();
  readonly #escalation: Escalation;
  readonly #creating = new KeyedLock();
  #stopping = false;

  constructor({ log, ...nouns }: ShimTaskManagerDependencies, options: ShimTaskManagerOptions) {
    const { platform, events } = nouns;
    const { root, state, shim: program, shimDirectory, ...given } = options;
    const { deadlines, daemon } = given;
    const calls = this.#outstanding;
    const escalation = new Escalation({ platform, events, calls, deadlines, log });
    this.#dependencies = {
      ...nouns,
      ...given,
      log,
      shimDirectory,
      tasks: this.#tasks,
      outstanding: calls,
      bundles: new BundleStore({ mounts: platform.mounts, log }, { root, state }),
      links: new ShimLinks(
        { platform, log, onLost: (link) => this.#onShimLost(link) },
        { baseDir: shimDirectory, program, daemon },
      ),
      calls: new TaskCalls({ calls, escalation, deadlines }),
    };
    this.#escalation = escalation;
    this.#log = log;
  }

  /** Finds the tasks of an earlier daemon again; before anybody is served. */
  async load(ctx: Context): Promise<void> {
    await loadTasks(this.#dependencies, ctx);
  }

  /** Leaves shims and containers running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#dismissIdleShims();
    for (const task of this.#tasks) task.release();
    await this.#dependencies.links[Symbol.asyncDispose]();
    await this.#dependencies.bundles[Symbol.asyncDispose]();
  }

  /**
   * One of a container at a time: the second finds AlreadyExists while the first is at it. Errors: NotFound (container),
   * AlreadyExists (task), FailedPrecondition (no spec), Unknown for what the shim or the runtime says, Unavailable,
   * DeadlineExceeded, Canceled. Nothing is left on failure.
   */
  async create(ctx: NamespacedContext, request: CreateTask): Promise<{ pid: number }> {
    const key = taskKey(ctx.namespace, request.containerId);
    using turn = this.#creating.tryAcquire(key);
    if (turn === undefined || this.#tasks.get(ctx.namespace, request.containerId) !== undefined)
      throw taken(`task ${request.containerId}`);
    const { task, pid } = await createTask(this.#dependencies, ctx, request);
    this.#tasks.add(task);
    return { pid };
  }

  async start(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
  ): Promise<{ pid: number }> {
    const task = await this.#task(ctx, containerId);
    const { pid } = await this.#call(ctx, task, 'start', { id: containerId, execId });
    task.learnProcess(this.#dependencies.platform.processes, execId, pid);
    return { pid };
  }

  async attach(
    ctx: NamespacedContext,
    target: ProcessTarget,
    streams: AttachStreams,
  ): Promise<AttachedProcess> {
    return (await this.#streams(ctx, target)).attach(streamTarget(ctx, target), streams);
  }

  async reopenLog(ctx: NamespacedContext, target: ProcessTarget): Promise<void> {
    await (await this.#streams(ctx, target)).reopen(streamTarget(ctx, target));
  }

  async #streams(ctx: NamespacedContext, { containerId }: ProcessTarget): Promise<ShimStreams> {
    const { link } = await this.#task(ctx, containerId);
    return (await link.connection(ctx)).streams;
  }

  /** Goes on when the caller leaves: what the shim has begun cannot be taken back. */
  async delete(ctx: NamespacedContext, id: ContainerId): Promise<ProcessEnd> {
    const task = await this.#task(ctx, id);
    task.deletion ??= this.#delete(withNamespace(background(this.#log), ctx.namespace), task).finally(() => {
      task.deletion = undefined;
    });
    task.deletion.catch(() => {});
    return raceSignal(task.deletion, ctx.signal);
  }

  async deleteProcess(ctx: NamespacedContext, id: ContainerId, execId: ExecId): Promise<ProcessEnd> {
    return deleteProcess(this.#dependencies, ctx, await this.#task(ctx, id), execId);
  }

  async state(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
  ): Promise<ProcessState> {
    const task = await this.#task(ctx, containerId);
    return stateOf(await this.#call(ctx, task, 'state', { id: containerId, execId }));
  }

  async list(ctx: NamespacedContext): Promise<ProcessState[]> {
    const states = this.#tasks.in(ctx.namespace).map(({ bundle }) =>
      this.state(ctx, { containerId: bundle.id }).catch((error: unknown) => {
        // It is being deleted just now.
        if (hasCode(error, 'NotFound')) return undefined;
        ctx.log.warn(
          { error, id: bundle.id },
          'left out of the list: the shim does not tell the state of a task',
        );
        return undefined;
      }),
    );
    return (await Promise.all(states)).filter((state) => state !== undefined);
  }

  async kill(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
    signal: number,
    { all }: { all: boolean },
  ): Promise<void> {
    const task = await this.#task(ctx, containerId);
    await this.#call(ctx, task, 'kill', { id: containerId, execId, signal, all });
    if (signal === SIGKILL) this.#watchEnd(task, execId);
  }

  async exec(
    ctx: NamespacedContext,
    id: ContainerId,
    execId: ExecId,
    spec: AnyValue,
    io: ProcessIo,
  ): Promise<void> {
    await this.#call(ctx, await this.#task(ctx, id), 'exec', { id, execId, ...io, spec: anyToWire(spec) });
  }

  async resizePty(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
    width: number,
    height: number,
  ): Promise<void> {
    await this.#call(ctx, await this.#task(ctx, containerId), 'resizePty', {
      id: containerId,
      execId,
      width,
      height,
    });
  }

  async closeIo(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
  ): Promise<void> {
    await this.#call(ctx, await this.#task(ctx, containerId), 'closeIO', {
      id: containerId,
      execId,
      stdin: true,
    });
  }

  async pause(ctx: NamespacedContext, id: ContainerId): Promise<void> {
    await this.#call(ctx, await this.#task(ctx, id), 'pause', { id });
  }

  async resume(ctx: NamespacedContext, id: ContainerId): Promise<void> {
    await this.#call(ctx, await this.#task(ctx, id), 'resume', { id });
  }

  async pids(
    ctx: NamespacedContext,
    id: ContainerId,
  ): Promise<{ pid: number; info: AnyValue | undefined }[]> {
    const { processes } = await this.#call(ctx, await this.#task(ctx, id), 'pids', { id });
    return processes.map(({ pid, info }) => ({ pid, info: anyFromWire(info) }));
  }

  async update(
    ctx: NamespacedContext,
    id: ContainerId,
    resources: AnyValue | undefined,
    annotations: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#call(ctx, await this.#task(ctx, id), 'update', {
      id,
      annotations: { ...annotations },
      ...(resources !== undefined && { resources: anyToWire(resources) }),
    });
  }

  async metrics(ctx: NamespacedContext, filters: readonly string[]): Promise<TaskMetric[]> {
    const passes = parseFilters(filters);
    const wanted = this.#tasks
      .in(ctx.namespace)
      .filter(({ bundle }) =>
        passes(([field]) =>
          field === 'id' ? bundle.id : field === 'namespace' ? bundle.namespace : undefined,
        ),
      );
    const samples = wanted.map(async (task): Promise<TaskMetric | undefined> => {
      const { id } = task.bundle;
      try {
        const data = anyFromWire((await this.#call(ctx, task, 'stats', { id })).stats);
        return data === undefined ? undefined : { id, timestamp: now(), data };
      } catch (error) {
        ctx.log.warn({ error, id }, 'left out of the metrics: the shim does not measure a task');
        return undefined;
      }
    });
    return (await Promise.all(samples)).filter((sample) => sample !== undefined);
  }

  async wait(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
  ): Promise<ProcessEnd> {
    return (await this.#task(ctx, containerId)).ended(ctx, execId);
  }

  /** Tasks of the namespace with a call that has passed its deadline, the oldest first. */
  stuck({ namespace }: NamespacedContext): StuckCall[] {
    return this.#outstanding.stuck(namespace);
  }

  async checkpoint(
    ctx: NamespacedContext,
    id: ContainerId,
    options: AnyValue | undefined,
  ): Promise<Descriptor[]> {
    const task = await this.#task(ctx, id);
    const dump = async (path: string): Promise<void> => {
      await this.#call(ctx, task, 'checkpoint', {
        id,
        path,
        ...(options !== undefined && { options: anyToWire(options) }),
      });
    };
    const path = checkpointPath(options);
    if (path === '') {
      const { spec } = await this.#dependencies.containers.get(ctx, id);
      return saveCheckpoint(this.#dependencies, ctx, { bundle: task.bundle, spec, dump });
    }
    await dump(path);
    return [];
  }

  /** Errors: NotFound, in containerd's words, which tell a container without a task from one that is not there. */
  async #task(ctx: NamespacedContext, id: ContainerId): Promise<Task> {
    const task = this.#tasks.get(ctx.namespace, id);
    if (task !== undefined) return task;
    await this.#dependencies.containers.get(ctx, id);
    throw absent(`task ${id} not found`);
  }

  get #call(): TaskCalls['call'] {
    const { calls } = this.#dependencies;
    return calls.call.bind(calls);
  }

  async #delete(ctx: NamespacedContext, task: Task): Promise<ProcessEnd> {
    const end = await deleteTask(this.#dependencies, ctx, task);
    this.#tasks.remove(task);
    this.#outstanding.forget(task.bundle);
    return end;
  }

  /** A process that was killed and does not end is stuck like a call that does not come back. */
  #watchEnd(task: Task, execId: ExecId | ''): void {
    const { namespace, id } = task.bundle;
    const deadlineMs = this.#dependencies.deadlines.ms('task.kill');
    const begin = (): OutstandingCall =>
      this.#outstanding.begin({ namespace, id, execId }, 'exit', deadlineMs);
    const dying = task.dying.get(execId) ?? { call: begin(), escalating: false };
    if (dying.escalating) return;
    task.dying.set(execId, dying);
    dying.escalating = true;
    const over = (): void => {
      this.#outstanding.answered(dying.call);
      task.dying.delete(execId);
    };
    const ended = task.ended(background(this.#log), execId).finally(over);
    // What comes of it is in the log, in the events and in the list of what is stuck; the next kill tries again.
    this.#escalation
      .bounded({ call: dying.call, task }, ended)
      .catch(() => {})
      .finally(() => {
        dying.escalating = false;
      });
  }

  /** A shim that holds nothing of ours need not wait out its grace: nobody will ask it for more. */
  async #dismissIdleShims(): Promise<void> {
    const options = { timeoutMs: this.#dependencies.deadlines.ms('shim.shutdown') };
    const idle = this.#dependencies.links.all.filter(({ holders }) => holders.size === 0);
    await Promise.allSettled(
      idle.map(async ({ current }) => current?.call('shutdown', { id: '', now: true }, options)),
    );
  }

  #onShimLost(link: ShimLink): void {
    if (this.#stopping) return;
    afterShimLoss(this.#dependencies, link).catch((error: unknown) => {
      this.#log.error({ error, address: link.address.address }, 'could not go on after the death of a shim');
    });
  }
}
