/** The story of a task's deletion, and what becomes of its shim. */
import type { NamespacedContext } from '../../../base/context.ts';
import { hasCode } from '../../../base/errors.ts';
import type { ContainerId, ExecId } from '../../../base/identifiers.ts';
import type { TaskCalls } from '../calls/task-calls.ts';
import { announceEnd, type DeadShimDependencies } from '../loss/dead-shim.ts';
import { deleteByShim } from '../shims/foreign-shim.ts';
import { DeletedMeanwhile } from '../shims/repeat-rules.ts';
import { programOf, type ShimStartDependencies } from '../shims/shim-start.ts';
import type { ProcessEnd } from '../task-manager.ts';
import type { Task } from './task.ts';
import { endOf } from './task-convert.ts';

export interface TaskDeleteDependencies extends ShimStartDependencies, DeadShimDependencies {
  readonly calls: TaskCalls;
}

/** Of init and all. The bundle is gone when it resolves. Errors: FailedPrecondition while it runs; what the shim says. */
export async function deleteTask(
  deps: TaskDeleteDependencies,
  ctx: NamespacedContext,
  task: Task,
): Promise<ProcessEnd> {
  const end = await deleteInShim(deps, ctx, task);
  await dismiss(deps, ctx, task);
  deps.bundles.remove(task.bundle);
  return end;
}

async function deleteInShim(
  deps: TaskDeleteDependencies,
  ctx: NamespacedContext,
  task: Task,
): Promise<ProcessEnd> {
  const { bundle } = task;
  try {
    return endOf(await deps.calls.call(ctx, task, 'delete', { id: bundle.id, execId: '' }));
  } catch (error) {
    if (!(error instanceof DeletedMeanwhile)) throw error;
    // The shim died after it had deleted, or while it did: its `delete` finishes, and knows the end from the bundle.
    const program = await programOf(deps, bundle);
    const signal = AbortSignal.timeout(deps.deadlines.ms('shim.cleanup'));
    const end = await deleteByShim(deps.platform.processes, { program, bundle, daemon: deps.daemon, signal });
    await announceEnd(deps, ctx, bundle, end);
    return end;
  }
}

/** Of an exec. */
export async function deleteProcess(
  deps: TaskDeleteDependencies,
  ctx: NamespacedContext,
  task: Task,
  execId: ExecId,
): Promise<ProcessEnd> {
  const { id, namespace }: { id: ContainerId; namespace: string } = task.bundle;
  try {
    return endOf(await deps.calls.call(ctx, task, 'delete', { id, execId }));
  } catch (error) {
    const end = error instanceof DeletedMeanwhile ? deps.exits.exitOf(namespace, id, execId) : undefined;
    if (end === undefined) throw error;
    return end;
  } finally {
    task.processes.delete(execId);
  }
}

/**
 * The shim ends when it holds nothing any more, at once or after its grace. A foreign one is waited for, as containerd
 * does it; one of ours knows by itself, and goes on serving the others.
 */
export async function dismiss(
  { links, deadlines }: TaskDeleteDependencies,
  ctx: NamespacedContext,
  task: Task,
): Promise<void> {
  const { link, bundle } = task;
  const { id, namespace } = bundle;
  task.release();
  const timeoutMs = deadlines.ms('shim.shutdown');
  const leaving = link.current?.call('shutdown', { id }, { namespace, timeoutMs }).catch((error: unknown) => {
    if (!hasCode(error, 'Unavailable')) ctx.log.warn({ error, id, namespace }, 'the shim does not shut down');
  });
  if (!link.isGantry) await leaving;
  if (!link.isGantry && link.holders.size === 0) await links.drop(link);
}
