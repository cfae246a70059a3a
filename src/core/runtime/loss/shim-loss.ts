/**
 * What happens when a connection to a shim ends. Ours: another process takes over, and only what it does not hold is
 * cleaned up. Foreign: everything that it held is cleaned up, as containerd does it.
 */
import { background, type Context, never } from '../../../base/context.ts';
import { hasCode } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import type { OutstandingCalls } from '../calls/outstanding-calls.ts';
import type { ShimConnection } from '../shims/shim-connection.ts';
import type { ShimLink } from '../shims/shim-link.ts';
import { programOf, type ShimStartDependencies } from '../shims/shim-start.ts';
import type { Task } from '../tasks/task.ts';
import type { TaskTable } from '../tasks/task-table.ts';
import { cleanUpAfterShim, type DeadShimDependencies } from './dead-shim.ts';

export interface ShimLossDependencies extends DeadShimDependencies, ShimStartDependencies {
  readonly log: Logger;
  readonly outstanding: OutstandingCalls;
  readonly tasks: TaskTable;
}

/**
 * Resolves when every task of the link is held by the next shim, or was cleaned up with its end announced. Errors: the
 * file system's, from the removal of an idle group; what fails for one task is logged.
 */
export async function afterShimLoss(deps: ShimLossDependencies, link: ShimLink): Promise<void> {
  if (link.holders.size === 0) {
    // It had nothing left to do, and went.
    await deps.links.removeGroup(link);
    return;
  }
  const held = deps.tasks.of(link);
  const { address } = link.address;
  if (!link.isGantry) {
    deps.log.warn({ address, tasks: held.length }, 'a shim died, cleaning up its tasks');
    await Promise.all(held.map((task) => abandon(deps, task)));
    return;
  }
  deps.log.warn({ address, tasks: held.length }, 'a shim died, another takes over');
  const startedMs = performance.now();
  let connection: ShimConnection;
  try {
    connection = await link.connection({ signal: never });
  } catch (error) {
    deps.log.error(
      { error, address, tasks: held.length },
      'no shim could take over: its tasks are cleaned up',
    );
    await Promise.all(held.map((task) => abandon(deps, task)));
    return;
  }
  await Promise.all(held.map((task) => verify(deps, task, connection)));
  const tookMs = Math.round(performance.now() - startedMs);
  deps.log.info({ address, tasks: held.length, tookMs }, 'a new shim has taken over');
}

/** One that the new shim does not hold could not be taken over; the shim's log says why. */
async function verify(deps: ShimLossDependencies, task: Task, connection: ShimConnection): Promise<void> {
  const { id, namespace } = task.bundle;
  const timeoutMs = deps.deadlines.ms('shim.load');
  try {
    const { taskPid, shimPid } = await connection.call('connect', { id }, { namespace, timeoutMs });
    deps.outstanding.forget(task.bundle);
    task.link.learnProcess(shimPid);
    task.learnProcess(deps.platform.processes, '', taskPid);
  } catch (error) {
    if (!hasCode(error, 'NotFound') || task.deletion !== undefined || !deps.tasks.has(task)) return;
    deps.log.warn({ id, namespace }, 'the new shim could not take a task over, cleaning up');
    await abandon(deps, task);
  }
}

/** Never rejects. */
export async function abandon(deps: ShimLossDependencies, task: Task): Promise<void> {
  const { bundle } = task;
  const { namespace, id } = bundle;
  const ctx: Context = background(deps.log);
  deps.tasks.remove(task);
  deps.outstanding.forget(bundle);
  try {
    const program = await programOf(deps, bundle);
    task.abandoned.resolve(await cleanUpAfterShim(deps, ctx, { bundle, program, announce: true }));
  } catch (error) {
    deps.log.error({ error, id, namespace }, 'could not clean up after a dead shim');
    task.abandoned.reject(error);
    task.abandoned.promise.catch(() => {});
  }
  task.release();
}
