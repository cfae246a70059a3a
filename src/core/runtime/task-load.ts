/**
 * Finding tasks again after a restart of the daemon: every bundle's shim is asked, all at once, each within its own
 * time. A task whose shim answers is as before; one whose shim is gone is cleaned up and its end announced.
 */

import path from 'node:path';
import { type Context, withNamespace, withTimeout } from '../../base/context.ts';
import { limits } from '../../base/limits.ts';
import type { Bundle } from './bundle.ts';
import { cleanUpAfterShim } from './dead-shim.ts';
import { readShimLog } from './shim-log.ts';
import { Task } from './task.ts';
import { programOf, type TaskCreateDependencies } from './task-create.ts';

type LoadDependencies = Omit<TaskCreateDependencies, 'containers' | 'besideDir'>;

export async function loadTasks(deps: LoadDependencies, ctx: Context): Promise<Task[]> {
  const tasks = await Promise.all((await deps.bundles.list()).map((bundle) => loadTask(deps, ctx, bundle)));
  return tasks.filter((task) => task !== undefined);
}

async function loadTask(deps: LoadDependencies, ctx: Context, bundle: Bundle): Promise<Task | undefined> {
  const log = ctx.log.child({ namespace: bundle.namespace, id: bundle.id });
  try {
    const task = await reconnect(deps, ctx, bundle);
    if (task !== undefined) return task;
    log.info({}, 'removed a task whose creation did not come to its end');
  } catch (error) {
    log.warn({ error }, 'the shim of a task is gone, cleaning up');
  }
  const runtime = await deps.bundles.runtime(bundle);
  const announce = (await deps.bundles.address(bundle)) !== undefined;
  const program = programOf(deps.sharedShim, runtime);
  try {
    await cleanUpAfterShim(deps, ctx, { bundle, program, daemon: deps.daemon, announce });
  } catch (error) {
    log.error({ error }, 'could not clean up a task; its bundle stays for the next start');
  }
  return undefined;
}

/** Undefined when the bundle never had a shim. Errors: Unavailable, DeadlineExceeded, NotFound (not held there). */
async function reconnect(deps: LoadDependencies, ctx: Context, bundle: Bundle): Promise<Task | undefined> {
  const address = await deps.bundles.address(bundle);
  if (address === undefined) return undefined;
  const limited = withTimeout(withNamespace(ctx, bundle.namespace), limits.shimLoadMs);
  const ownsShim = address.address !== deps.sharedShim.address.address;
  using resources = new DisposableStack();
  if (ownsShim) resources.use(readShimLog(deps.platform.files, path.join(bundle.path, 'log'), ctx.log));
  else await deps.sharedShim.followLog();
  const shim = await deps.pool.at(address, limited);
  const task = new Task({ bundle, shim, ownsShim, resources: resources.move() });
  try {
    await task.call(limited, 'connect', { id: bundle.id });
    return task;
  } catch (error) {
    task.resources.dispose();
    if (ownsShim) await deps.pool.close(shim);
    throw error;
  }
}
