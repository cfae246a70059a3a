/**
 * Finding tasks again after a restart of the daemon: every bundle's shim is asked, all at once, each within its own time.
 * A shim of ours that is gone is started again and takes its containers over. A shim that is slow to answer is not
 * dead: its tasks are kept, and the next call finds out. Only what is certainly lost is cleaned up.
 */
import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import {
  type Context,
  checkSignal,
  type NamespacedContext,
  withNamespace,
  withTimeout,
} from '../../../base/context.ts';
import { hasCode } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import type { TaskCalls } from '../calls/task-calls.ts';
import { cleanUpAfterShim } from '../loss/dead-shim.ts';
import type { ShimLossDependencies } from '../loss/shim-loss.ts';
import { readShimLog } from '../shims/shim-log.ts';
import { programOf } from '../shims/shim-start.ts';
import { keepOutputs } from '../streams/output-keeper.ts';
import type { Bundle } from './bundle.ts';
import { Task } from './task.ts';

export interface TaskLoadDependencies extends ShimLossDependencies {
  readonly calls: TaskCalls;
}

/** Fills `deps.tasks`. */
export async function loadTasks(deps: TaskLoadDependencies, ctx: Context): Promise<void> {
  const bundles = await deps.bundles.list();
  await Promise.all(bundles.map((bundle) => loadTask(deps, ctx, bundle)));
  await deps.links.sweep({ signal: AbortSignal.timeout(deps.deadlines.ms('shim.shutdown')) });
}

async function loadTask(deps: TaskLoadDependencies, ctx: Context, bundle: Bundle): Promise<void> {
  const { namespace, id } = bundle;
  const log = ctx.log.child({ namespace, id });
  let announce = false;
  try {
    const task = await reconnect(deps, withNamespace({ ...ctx, log }, namespace), bundle);
    if (task !== undefined) {
      deps.tasks.add(task);
      return;
    }
    log.info({}, 'removed a task whose creation or deletion did not come to its end');
  } catch (error) {
    announce = true;
    log.warn({ error }, 'the shim of a task is gone, cleaning up');
  }
  try {
    await cleanUpAfterShim(deps, ctx, { bundle, program: await programOf(deps, bundle), announce });
  } catch (error) {
    log.error({ error }, 'could not clean up a task; its bundle stays for the next start');
  }
}

/** Undefined when nobody needs to hear of it. Errors: Unavailable, NotFound when the shim, or the task in it, is lost. */
async function reconnect(
  deps: TaskLoadDependencies,
  ctx: NamespacedContext,
  bundle: Bundle,
): Promise<Task | undefined> {
  const address = await deps.bundles.address(bundle);
  if (address === undefined) return undefined;
  const link = deps.links.at(address);
  const resources = new DisposableStack();
  // Before a shim is asked, for the container may end before one is there.
  resources.use(keepOutputs({ files: deps.platform.files, log: ctx.log }, bundle.path));
  if (!link.isGantry) resources.use(readShimLog(deps.platform.files, path.join(bundle.path, 'log'), ctx.log));
  const task = new Task({ bundle, link, resources });
  try {
    await askFor(deps, ctx, task);
    return task;
  } catch (error) {
    if (hasCode(error, 'DeadlineExceeded')) {
      ctx.log.warn({ error }, 'the shim of a task does not answer; the task is kept');
      // Whatever is wrong with the shim is found out, and nobody waits for it.
      deps.calls.call(ctx, task, 'state', { id: bundle.id, execId: '' }).catch(() => {});
      return task;
    }
    task.release();
    if (!link.isGantry && link.holders.size === 0) await deps.links.drop(link);
    if (link.isGantry && hasCode(error, 'NotFound') && !(await wasRunning(deps, bundle))) return undefined;
    throw error;
  }
}

/** Errors: NotFound when the shim does not have it and is not just making it; DeadlineExceeded. */
async function askFor(deps: TaskLoadDependencies, ctx: NamespacedContext, task: Task): Promise<void> {
  const { bundle, link } = task;
  const { namespace, id } = bundle;
  const loadMs = deps.deadlines.ms('shim.load');
  // A shim that is started for this has more to do than to answer.
  await link.connection({ signal: ctx.signal });
  const { signal } = withTimeout(ctx, loadMs);
  for (;;) {
    try {
      // Repeated when the shim dies just now: it may have been killed together with the daemon before this one.
      const options = { namespace, timeoutMs: loadMs };
      const { taskPid, shimPid } = await link.call('connect', { id }, options);
      link.learnProcess(shimPid);
      task.learnProcess(deps.platform.processes, '', taskPid);
      return;
    } catch (error) {
      if (!hasCode(error, 'NotFound') || !(await isBeingMade(deps, task))) throw error;
      await after(limits.heldPollMs);
      checkSignal(signal);
    }
  }
}

/** The shim is at the create that a daemon before us asked for: it has linked to the bundle, and noted no more than that. */
async function isBeingMade({ bundles }: TaskLoadDependencies, { link, bundle }: Task): Promise<boolean> {
  if (link.gantry === undefined) return false;
  const held = path.join(link.gantry.directory, 'held', bundle.namespace, bundle.id);
  const isHeld = await lstat(held).then(
    () => true,
    () => false,
  );
  const noted = await bundles.shimState(bundle);
  return isHeld && (noted === undefined || noted.init.phase === 'creating');
}

/** It came into being, and nobody has seen its end: somebody has to tell it. */
async function wasRunning({ bundles }: TaskLoadDependencies, bundle: Bundle): Promise<boolean> {
  const init = (await bundles.shimState(bundle))?.init;
  return init !== undefined && init.phase !== 'creating' && init.exit === undefined;
}
