/**
 * Brings containers with a restart label to the state that it names: looks at all of them every so often, starts what
 * should run and stops what should not. One that cannot be brought there is told to the log and tried again next time.
 *
 * A task that is created, paused or does not answer is in somebody's hands and left alone, and so is a new container that
 * has none yet: containerd may start one under the hands of the client that made it.
 */
import { type Context, type NamespacedContext, withNamespace, withTimeout } from '../../base/context.ts';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import { type ContainerId, parseSnapshotKey } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { Semaphore } from '../../base/semaphore.ts';
import { msOfInstant } from '../../base/time.ts';
import { SIGKILL } from '../../platform/signals.ts';
import type { Container, ContainerStore } from '../containers/container-store.ts';
import type { NamespaceStore } from '../namespaces/namespace-store.ts';
import type { ProcessState, TaskManager } from '../runtime/task-manager.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import { restartCount, restartLabels, wantsRestart } from './restart-policy.ts';

export interface RestartMonitorDependencies {
  readonly namespaces: Pick<NamespaceStore, 'list'>;
  readonly containers: Pick<ContainerStore, 'list' | 'update'>;
  readonly tasks: Pick<TaskManager, 'state' | 'create' | 'start' | 'kill' | 'wait' | 'delete'>;
  /** Errors: NotFound. */
  readonly snapshotter: (name: string) => Pick<Snapshotter, 'mounts'>;
}

export interface RestartMonitorOptions {
  readonly intervalMs: number;
}

export class RestartMonitor implements AsyncDisposable {
  readonly #dependencies: RestartMonitorDependencies;
  readonly #atOnce = new Semaphore(limits.restartsAtOnce);
  readonly #ctx: Context;
  readonly #ending = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> | undefined;

  /** The first look comes after one interval. */
  constructor(ctx: Context, dependencies: RestartMonitorDependencies, { intervalMs }: RestartMonitorOptions) {
    this.#ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, this.#ending.signal]) };
    this.#dependencies = dependencies;
    this.#timer = setInterval(() => this.#tick(), intervalMs).unref();
  }

  /** Looks once at every container. Errors: those of the stores; what happens to one container is told to the log. */
  async look(): Promise<void> {
    for (const { name } of await this.#dependencies.namespaces.list(this.#ctx)) {
      const ctx = withNamespace(this.#ctx, name);
      const filters = [`labels.${JSON.stringify(restartLabels.status)}`];
      const containers = await this.#dependencies.containers.list(ctx, filters);
      await Promise.all(containers.map((container) => this.#tend(ctx, container)));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#ending.abort();
    await this.#looking;
  }

  #tick(): void {
    this.#looking ??= this.look()
      .catch((error: unknown) => {
        if (!this.#ending.signal.aborted)
          this.#ctx.log.warn({ error: ContainerdError.from(error) }, 'cannot look after restarts');
      })
      .finally(() => {
        this.#looking = undefined;
      });
  }

  async #tend(ctx: NamespacedContext, container: Container): Promise<void> {
    using _turn = await this.#atOnce.acquire();
    const log = ctx.log.child({ namespace: ctx.namespace, id: container.id });
    const bounded = withTimeout({ ...ctx, log }, limits.restartMs);
    try {
      const state = await stateOf(this.#dependencies, bounded, container.id);
      const wanted = container.labels[restartLabels.status];
      if (
        wanted === 'running' &&
        !isInHands(container, state) &&
        wantsRestart(container.labels, state?.exitStatus ?? 0)
      ) {
        log.info({ exitStatus: state?.exitStatus }, 'a container is started again by its restart policy');
        await start(this.#dependencies, bounded, container);
      } else if (wanted === 'stopped' && state !== undefined && state.status !== 'stopped') {
        log.info({}, 'a container is stopped, as its restart label has it');
        await remove(this.#dependencies, bounded, container.id);
      }
    } catch (error) {
      if (!this.#ending.signal.aborted)
        log.warn(
          { error: ContainerdError.from(error) },
          'cannot bring a container to the state of its label',
        );
    }
  }
}

/** Undefined when the container has no task. */
async function stateOf(
  { tasks }: Pick<RestartMonitorDependencies, 'tasks'>,
  ctx: NamespacedContext,
  containerId: ContainerId,
): Promise<ProcessState | undefined> {
  try {
    return await tasks.state(ctx, { containerId });
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** A new container without a task is about to get one from the client that made it. */
const isInHands = ({ createdAt }: Container, state: ProcessState | undefined): boolean =>
  state === undefined
    ? Date.now() - msOfInstant(createdAt) < limits.restartGraceMs
    : state.status !== 'stopped';

/** The count is written before the start, so that one that kills the daemon is counted as well. */
async function start(
  { containers, tasks, snapshotter }: RestartMonitorDependencies,
  ctx: NamespacedContext,
  container: Container,
): Promise<void> {
  const { id, labels, snapshotter: name, snapshotKey } = container;
  const count = String(restartCount(labels) + 1);
  await containers.update(ctx, { ...container, labels: { ...labels, [restartLabels.count]: count } }, [
    `labels.${restartLabels.count}`,
  ]);
  await remove({ tasks }, ctx, id);
  const rootfs = name === '' ? [] : await snapshotter(name).mounts(ctx, parseSnapshotKey(snapshotKey));
  const log = labels[restartLabels.logUri] ?? '';
  await tasks.create(ctx, {
    containerId: id,
    rootfs,
    io: { stdin: '', stdout: log, stderr: log, terminal: false },
    checkpoint: undefined,
    options: undefined,
    runtimePath: '',
    taskApiAddress: '',
    taskApiVersion: 0,
  });
  try {
    await tasks.start(ctx, { containerId: id });
  } catch (error) {
    await remove({ tasks }, ctx, id);
    throw error;
  }
}

/** Kills and deletes the task, if there is one. */
async function remove(
  { tasks }: Pick<RestartMonitorDependencies, 'tasks'>,
  ctx: NamespacedContext,
  containerId: ContainerId,
): Promise<void> {
  try {
    const { status } = await tasks.state(ctx, { containerId });
    if (status !== 'stopped') {
      await tasks.kill(ctx, { containerId }, SIGKILL, { all: true });
      await tasks.wait(ctx, { containerId });
    }
    await tasks.delete(ctx, containerId);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw error;
  }
}
