/** The story of a task's creation; see docs/walks/start.md. */
import { raceSignal } from '../../../base/bounded-wait.ts';
import { checkSignal, type NamespacedContext, never, withSignal } from '../../../base/context.ts';
import { ContainerdError, failedPrecondition, wrap } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import { anyToWire } from '../../../wire/any.ts';
import type { ContainerStore } from '../../containers/container-store.ts';
import type { ContentStore } from '../../content/content-store.ts';
import type { TaskCalls } from '../calls/task-calls.ts';
import { cleanUpAfterShim, type DeadShimDependencies } from '../loss/dead-shim.ts';
import {
  programOf,
  runtimeOf,
  type ShimStartDependencies,
  type Starting,
  taskOnShim,
} from '../shims/shim-start.ts';
import { keepOutputs } from '../streams/output-keeper.ts';
import type { CreateTask } from '../task-manager.ts';
import { prepareRestore } from './checkpoint.ts';
import type { Task } from './task.ts';
import { dismiss } from './task-delete.ts';

export interface TaskCreateDependencies extends ShimStartDependencies, DeadShimDependencies {
  readonly containers: ContainerStore;
  readonly content: ContentStore;
  readonly calls: TaskCalls;
}

/**
 * Errors: NotFound (container); Unknown for what the shim or the runtime says. Nothing is left on failure; when the
 * caller leaves, what is left goes within a moment, or as soon as a hung shim lets go of it.
 */
export async function createTask(
  deps: TaskCreateDependencies,
  ctx: NamespacedContext,
  request: CreateTask,
): Promise<{ task: Task; pid: number }> {
  checkSignal(ctx.signal);
  // ttrpc cannot take a create back: it is let come to its end, and undone when nobody waits for it any more.
  const creating = create(deps, { ...ctx, signal: never }, request, ctx.signal);
  try {
    return await raceSignal(creating, ctx.signal);
  } catch (error) {
    if (!ctx.signal.aborted) throw error;
    await raceSignal(creating, AbortSignal.timeout(limits.createUndoMs)).catch(() => {});
    throw error;
  }
}

async function create(
  deps: TaskCreateDependencies,
  ctx: NamespacedContext,
  request: CreateTask,
  caller: AbortSignal,
): Promise<{ task: Task; pid: number }> {
  const container = await deps.containers.get(ctx, request.containerId);
  const runtime = runtimeOf(deps, container, request);
  await using undo = new AsyncDisposableStack();

  const spec = container.spec;
  if (spec === undefined) throw failedPrecondition(`container ${request.containerId} has no spec`);
  const bundle = deps.bundles.create(ctx.namespace, request.containerId, spec.value, runtime);
  undo.defer(() => deps.bundles.remove(bundle));

  const options = request.options ?? container.runtime.options;
  const checkpoint = await prepareRestore(deps, withSignal(ctx, caller), bundle, request);
  const starting = { bundle, spec: spec.value, runtime, request, options, checkpoint };
  const task = await taskOnShim(deps, withSignal(ctx, caller), starting);
  const pid = await createInShim(deps, ctx, task, starting);
  undo.defer(() => takeBack(deps, ctx, task));
  checkSignal(caller);
  undo.move();
  return { task, pid };
}

/** Leaves no shim of the task's own behind when the create fails. */
async function createInShim(
  deps: TaskCreateDependencies,
  ctx: NamespacedContext,
  task: Task,
  { bundle, request, options, checkpoint }: Starting,
): Promise<number> {
  try {
    const { pid } = await deps.calls.call(ctx, task, 'create', {
      id: request.containerId,
      bundle: bundle.path,
      rootfs: request.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
      ...request.io,
      checkpoint,
      ...(options !== undefined && { options: anyToWire(options) }),
    });
    task.learnProcess(deps.platform.processes, '', pid);
    task.keep(keepOutputs({ files: deps.platform.files, log: ctx.log }, bundle.path));
    return pid;
  } catch (error) {
    const failure = wrap('failed to create shim task', error);
    await dismiss(deps, ctx, task);
    // A shim that answered has undone it. One that did not may be half way, and only `delete` can find out.
    if (failure.code === 'Unavailable' || failure.code === 'DeadlineExceeded') {
      const program = await programOf(deps, bundle);
      await cleanUpAfterShim(deps, ctx, { bundle, program, announce: false, keepBundle: true });
    }
    throw failure;
  }
}

/** Of a container that was made and not started. */
async function takeBack(deps: TaskCreateDependencies, ctx: NamespacedContext, task: Task): Promise<void> {
  const { id } = task.bundle;
  try {
    await deps.calls.call(ctx, task, 'delete', { id, execId: '' });
  } catch (error) {
    ctx.log.warn(
      { error: ContainerdError.from(error), id },
      'could not take back a task whose caller has left',
    );
  }
  await dismiss(deps, ctx, task);
}
