/**
 * What becomes of a task whose shim is gone: the shim's `delete` takes the container away, and the events that the shim
 * can no longer send are sent here, once. Status 255 means that nobody knows.
 */
import { type Context, forCleanup, withNamespace } from '../../base/context.ts';
import { limits } from '../../base/limits.ts';
import { Semaphore } from '../../base/semaphore.ts';
import { now } from '../../base/time.ts';
import type { Platform } from '../../platform/platform.ts';
import { packAny } from '../../wire/any.ts';
import { TaskDeleteSchema, TaskExitSchema } from '../../wire/gen/containerd/events/task_pb.js';
import { timestampOf } from '../../wire/timestamps.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import type { Bundle, BundleStore } from './bundle.ts';
import { type DaemonAddresses, deleteByShim, type ShimProgram } from './foreign-shim.ts';
import type { ProcessEnd } from './task-manager.ts';

const unknownStatus = 255;

/** A dead shared shim leaves many at once, and each clean-up is a process of its own or two. */
const atOnce = new Semaphore(4);

export interface DeadShimDependencies {
  readonly platform: Platform;
  readonly events: EventPublisher;
  readonly bundles: BundleStore;
}

/**
 * `announce` is false for a task that never came into being. Ends with the bundle gone, or with nothing mounted there
 * when it is kept for another try.
 */
export async function cleanUpAfterShim(
  { platform, events, bundles }: DeadShimDependencies,
  ctx: Context,
  dead: {
    bundle: Bundle;
    program: ShimProgram;
    daemon: DaemonAddresses;
    announce: boolean;
    keepBundle?: boolean;
  },
): Promise<ProcessEnd> {
  const { bundle, announce } = dead;
  using _turn = await atOnce.acquire();
  const namespaced = withNamespace(forCleanup(ctx, limits.shimCleanupMs), bundle.namespace);
  const log = ctx.log.child({ namespace: bundle.namespace, id: bundle.id });
  let end: ProcessEnd = { pid: 0, exitStatus: unknownStatus, exitedAt: now() };
  try {
    const { signal } = namespaced;
    end = await deleteByShim(platform.processes, {
      program: dead.program,
      bundle,
      daemon: dead.daemon,
      signal,
    });
  } catch (error) {
    log.warn({ error }, 'the shim could not clean up after itself');
  }
  if (dead.keepBundle === true) platform.mounts.unmountAll(bundle.path, { lazy: true });
  else await bundles.remove(bundle);
  if (!announce) return end;
  const exitedAt = timestampOf(end.exitedAt ?? now());
  const { pid, exitStatus } = end;
  const containerId = bundle.id;
  await events.publish(
    namespaced,
    '/tasks/exit',
    packAny(TaskExitSchema, { containerId, id: containerId, pid, exitStatus, exitedAt }),
  );
  await events.publish(
    namespaced,
    '/tasks/delete',
    packAny(TaskDeleteSchema, { containerId, pid, exitStatus, exitedAt }),
  );
  return end;
}
