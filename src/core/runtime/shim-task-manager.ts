/**
 * Tasks over shims: what the task service asks, passed to the shim that holds the task.
 *
 * Differs from containerd where nobody can see it: the built-in runtime's containers share one shim process. When that
 * dies its containers are cleaned up each on its own, as after the death of any shim.
 */
import type { AnyValue } from '../../base/any-value.ts';
import { background, type Context, type NamespacedContext } from '../../base/context.ts';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import type { ContainerId, ExecId } from '../../base/identifiers.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Platform } from '../../platform/platform.ts';
import { anyFromWire, anyToWire } from '../../wire/any.ts';
import type { DeleteResponse, StateResponse } from '../../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Status } from '../../wire/gen/containerd/types/task/task_pb.js';
import { instantOf } from '../../wire/timestamps.ts';
import type { ContainerStore } from '../containers/container-store.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import { parseFilters } from '../filters/filter.ts';
import { BundleStore } from './bundle.ts';
import { checkpointPath, saveCheckpoint } from './checkpoint.ts';
import { cleanUpAfterShim } from './dead-shim.ts';
import type { DaemonAddresses, ShimProgram } from './foreign-shim.ts';
import { SharedShim } from './shared-shim.ts';
import type { ShimConnection } from './shim-connection.ts';
import { ShimPool } from './shim-pool.ts';
import { type Task, taskKey } from './task.ts';
import { createTask, programOf, type TaskCreateDependencies } from './task-create.ts';
import { loadTasks } from './task-load.ts';
import type {
  CreateTask,
  ProcessEnd,
  ProcessIo,
  ProcessState,
  ProcessStatus,
  ProcessTarget,
  TaskManager,
  TaskMetric,
} from './task-manager.ts';

export interface ShimTaskManagerDependencies {
  readonly containers: ContainerStore;
  /** Where dumps of tasks are kept. */
  readonly content: ContentStore;
  readonly events: EventPublisher;
  readonly platform: Platform;
  readonly log: Logger;
}

export interface ShimTaskManagerOptions {
  /** Work directories of tasks. */
  readonly root: string;
  /** Bundles of tasks. */
  readonly state: string;
  /** Socket, log and runc state of the shared shim; short, for a socket's path is bounded. */
  readonly shimDirectory: string;
  readonly shim: ShimProgram;
  readonly daemon: DaemonAddresses;
  /** Where shims are looked for that PATH does not have. */
  readonly besideDir: string;
}

export class ShimTaskManager implements TaskManager, AsyncDisposable {
  readonly #dependencies: TaskCreateDependencies;
  readonly #log: Logger;
  readonly #tasks = new Map<string, Task>();
  readonly #creating = new KeyedLock();
  #stopping = false;

  constructor({ log, ...nouns }: ShimTaskManagerDependencies, options: ShimTaskManagerOptions) {
    const { platform } = nouns;
    const { root, state, shim: program, daemon, shimDirectory: directory, besideDir } = options;
    const sharedShim = new SharedShim({ platform, log }, { program, daemon, directory });
    const pool = new ShimPool(sharedShim, (shim) => this.#onShimLost(shim));
    this.#dependencies = {
      ...nouns,
      bundles: new BundleStore(platform, { root, state }),
      pool,
      sharedShim,
      daemon,
      besideDir,
    };
    this.#log = log;
  }

  /** Finds the tasks of an earlier daemon again; before anybody is served. */
  async load(ctx: Context): Promise<void> {
    for (const task of await loadTasks(this.#dependencies, ctx)) this.#tasks.set(task.key, task);
  }

  /** Leaves shims and containers running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#dismissIdleShims();
    await this.#dependencies.pool[Symbol.asyncDispose]();
    for (const task of this.#tasks.values()) task.resources.dispose();
  }

  async create(ctx: NamespacedContext, request: CreateTask): Promise<{ pid: number }> {
    const key = taskKey(ctx.namespace, request.containerId);
    using turn = this.#creating.tryAcquire(key);
    if (turn === undefined || this.#tasks.has(key))
      throw new ContainerdError('AlreadyExists', `task ${request.containerId}`);
    const { task, pid } = await createTask(this.#dependencies, ctx, request);
    this.#tasks.set(key, task);
    return { pid };
  }

  async start(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
  ): Promise<{ pid: number }> {
    const { pid } = await this.#task(ctx, containerId).call(ctx, 'start', { id: containerId, execId });
    return { pid };
  }

  async delete(ctx: NamespacedContext, id: ContainerId): Promise<ProcessEnd> {
    const task = this.#task(ctx, id);
    const end = endOf(await task.call(ctx, 'delete', { id, execId: '' }));
    this.#tasks.delete(task.key);
    await this.#shutdown(task);
    await this.#dependencies.bundles.remove(task.bundle);
    return end;
  }

  async deleteProcess(ctx: NamespacedContext, id: ContainerId, execId: ExecId): Promise<ProcessEnd> {
    return endOf(await this.#task(ctx, id).call(ctx, 'delete', { id, execId }));
  }

  async state(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
  ): Promise<ProcessState> {
    const timeoutMs = limits.taskStateMs;
    return stateOf(
      await this.#task(ctx, containerId).call(ctx, 'state', { id: containerId, execId }, { timeoutMs }),
    );
  }

  async list(ctx: NamespacedContext): Promise<ProcessState[]> {
    const states = this.#tasksOf(ctx).map(({ bundle }) =>
      this.state(ctx, { containerId: bundle.id }).catch((error: unknown) => {
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
    await this.#task(ctx, containerId).call(ctx, 'kill', { id: containerId, execId, signal, all });
  }

  async exec(
    ctx: NamespacedContext,
    id: ContainerId,
    execId: ExecId,
    spec: AnyValue,
    io: ProcessIo,
  ): Promise<void> {
    await this.#task(ctx, id).call(ctx, 'exec', { id, execId, ...io, spec: anyToWire(spec) });
  }

  async resizePty(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
    width: number,
    height: number,
  ): Promise<void> {
    await this.#task(ctx, containerId).call(ctx, 'resizePty', { id: containerId, execId, width, height });
  }

  async closeIo(
    ctx: NamespacedContext,
    { containerId, execId = '' as ExecId }: ProcessTarget,
  ): Promise<void> {
    await this.#task(ctx, containerId).call(ctx, 'closeIO', { id: containerId, execId, stdin: true });
  }

  async pause(ctx: NamespacedContext, id: ContainerId): Promise<void> {
    await this.#task(ctx, id).call(ctx, 'pause', { id });
  }

  async resume(ctx: NamespacedContext, id: ContainerId): Promise<void> {
    await this.#task(ctx, id).call(ctx, 'resume', { id });
  }

  async pids(
    ctx: NamespacedContext,
    id: ContainerId,
  ): Promise<{ pid: number; info: AnyValue | undefined }[]> {
    const { processes } = await this.#task(ctx, id).call(ctx, 'pids', { id });
    return processes.map(({ pid, info }) => ({ pid, info: anyFromWire(info) }));
  }

  async update(
    ctx: NamespacedContext,
    id: ContainerId,
    resources: AnyValue | undefined,
    annotations: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#task(ctx, id).call(ctx, 'update', {
      id,
      annotations: { ...annotations },
      ...(resources !== undefined && { resources: anyToWire(resources) }),
    });
  }

  async metrics(ctx: NamespacedContext, filters: readonly string[]): Promise<TaskMetric[]> {
    const passes = parseFilters(filters);
    const wanted = this.#tasksOf(ctx).filter(({ bundle }) =>
      passes(([field]) =>
        field === 'id' ? bundle.id : field === 'namespace' ? bundle.namespace : undefined,
      ),
    );
    const samples = wanted.map(async (task): Promise<TaskMetric | undefined> => {
      const { id } = task.bundle;
      try {
        const data = anyFromWire(
          (await task.call(ctx, 'stats', { id }, { timeoutMs: limits.taskStateMs })).stats,
        );
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
    return this.#task(ctx, containerId).ended(ctx, execId);
  }

  async checkpoint(
    ctx: NamespacedContext,
    id: ContainerId,
    options: AnyValue | undefined,
  ): Promise<Descriptor[]> {
    const task = this.#task(ctx, id);
    const dump = async (path: string): Promise<void> => {
      await task.call(ctx, 'checkpoint', {
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

  /** Errors: NotFound. */
  #task(ctx: NamespacedContext, id: ContainerId): Task {
    const task = this.#tasks.get(taskKey(ctx.namespace, id));
    if (task === undefined) throw new ContainerdError('NotFound', `task ${id} not found`);
    return task;
  }

  #tasksOf({ namespace }: NamespacedContext): Task[] {
    return [...this.#tasks.values()].filter(({ bundle }) => bundle.namespace === namespace);
  }

  /** The shim ends when it holds nothing any more, at once or after its grace. */
  async #shutdown(task: Task): Promise<void> {
    const { id, namespace } = task.bundle;
    const options = { namespace, timeoutMs: limits.shimShutdownMs };
    try {
      await task.shim.call('shutdown', { id }, options);
    } catch (error) {
      if (!hasCode(error, 'Unavailable'))
        this.#log.warn({ error, id, namespace }, 'the shim does not shut down');
    }
    if (task.ownsShim && ![...this.#tasks.values()].some(({ shim }) => shim === task.shim))
      await this.#dependencies.pool.close(task.shim);
    task.resources.dispose();
  }

  /** A shim that holds nothing of ours need not wait out its grace: nobody will ask it for more. */
  async #dismissIdleShims(): Promise<void> {
    const used = new Set([...this.#tasks.values()].map(({ shim }) => shim));
    const idle = this.#dependencies.pool.connections.filter((shim) => !used.has(shim));
    const request = { id: '', now: true };
    const options = { timeoutMs: limits.shimShutdownMs };
    await Promise.allSettled(idle.map((shim) => shim.call('shutdown', request, options)));
  }

  #onShimLost(shim: ShimConnection): void {
    if (this.#stopping) return;
    for (const task of this.#tasks.values())
      if (task.shim === shim)
        this.#cleanUp(task).catch((error: unknown) => {
          this.#log.error({ error, id: task.bundle.id }, 'could not clean up after a dead shim');
        });
  }

  async #cleanUp(task: Task): Promise<void> {
    const { bundles, sharedShim, daemon } = this.#dependencies;
    const { bundle } = task;
    const ctx = background(this.#log);
    this.#log.warn({ id: bundle.id, namespace: bundle.namespace }, 'the shim of a task died, cleaning up');
    this.#tasks.delete(task.key);
    const program = programOf(sharedShim, await bundles.runtime(bundle));
    const end = await cleanUpAfterShim(this.#dependencies, ctx, { bundle, program, daemon, announce: true });
    task.abandoned.resolve(end);
    task.resources.dispose();
  }
}

const statuses: Readonly<Record<Status, ProcessStatus>> = {
  [Status.UNKNOWN]: 'unknown',
  [Status.CREATED]: 'created',
  [Status.RUNNING]: 'running',
  [Status.STOPPED]: 'stopped',
  [Status.PAUSED]: 'paused',
  [Status.PAUSING]: 'pausing',
};

const stateOf = (state: StateResponse): ProcessState => ({
  id: state.execId === '' ? state.id : state.execId,
  pid: state.pid,
  status: statuses[state.status] ?? 'unknown',
  stdin: state.stdin,
  stdout: state.stdout,
  stderr: state.stderr,
  terminal: state.terminal,
  exitStatus: state.exitStatus,
  exitedAt: instantOf(state.exitedAt),
});

const endOf = (end: DeleteResponse): ProcessEnd => ({
  pid: end.pid,
  exitStatus: end.exitStatus,
  exitedAt: instantOf(end.exitedAt),
});
