/**
 * What becomes of a task whose shim is gone for good: the shim's `delete` takes the container away, and the events that
 * the shim can no longer send are sent here, unless it had sent them. Status 255 means that nobody knows.
 */
import { type Context, forCleanup, withNamespace } from '../../../base/context.ts';
import { Semaphore } from '../../../base/semaphore.ts';
import { now } from '../../../base/time.ts';
import type { Platform } from '../../../platform/platform.ts';
import { packAny } from '../../../wire/any.ts';
import { TaskDeleteSchema, TaskExitSchema } from '../../../wire/gen/containerd/events/task_pb.js';
import { timestampOf } from '../../../wire/timestamps.ts';
import type { EventPublisher } from '../../events/event-exchange.ts';
import type { Deadlines } from '../calls/deadlines.ts';
import { type DaemonAddresses, deleteByShim, type ShimProgram } from '../shims/foreign-shim.ts';
import type { ProcessEnd } from '../task-manager.ts';
import type { Bundle, BundleStore } from '../tasks/bundle.ts';
import type { ExitLedger } from './exit-ledger.ts';
import { killLeftBehind } from './left-behind.ts';

const unknownStatus = 255;

/** A dead shim may leave many at once, and each clean-up is a process of its own or two. */
const atOnce = new Semaphore(4);

export interface DeadShimDependencies {
  readonly platform: Platform;
  readonly events: EventPublisher;
  readonly exits: ExitLedger;
  readonly bundles: BundleStore;
  readonly daemon: DaemonAddresses;
  readonly deadlines: Deadlines;
}

export interface DeadTask {
  readonly bundle: Bundle;
  readonly program: ShimProgram;
  /** False for a task that never came into being. */
  readonly announce: boolean;
  /** The bundle stays for another try, with nothing mounted in it. */
  readonly keepBundle?: boolean;
}

/** Ends with the bundle gone, or kept as asked. Errors: the file system's. */
export async function cleanUpAfterShim(
  deps: DeadShimDependencies,
  ctx: Context,
  { bundle, program, announce, keepBundle = false }: DeadTask,
): Promise<ProcessEnd> {
  const { platform, bundles, daemon, exits } = deps;
  using _turn = await atOnce.acquire();
  const namespaced = withNamespace(forCleanup(ctx, deps.deadlines.ms('shim.cleanup')), bundle.namespace);
  const log = ctx.log.child({ namespace: bundle.namespace, id: bundle.id });
  let end: ProcessEnd = { pid: 0, exitStatus: unknownStatus, exitedAt: now() };
  try {
    const { signal } = namespaced;
    end = await deleteByShim(platform.processes, { program, bundle, daemon, signal });
  } catch (error) {
    log.warn({ error }, 'the shim could not clean up after itself');
  }
  await killLeftBehind({ processes: platform.processes, log }, bundle, daemon);
  end = exits.exitOf(bundle.namespace, bundle.id, '') ?? end;
  if (keepBundle) platform.mounts.unmountAll(bundle.path, { lazy: true });
  else bundles.remove(bundle);
  if (announce) await announceEnd(deps, withNamespace(ctx, bundle.namespace), bundle, end);
  return end;
}

/** The end of init and the deletion, as far as the shim did not announce them itself. */
export async function announceEnd(
  { events, exits }: Pick<DeadShimDependencies, 'events' | 'exits'>,
  ctx: Context,
  { namespace, id }: Bundle,
  { pid, exitStatus, exitedAt = now() }: ProcessEnd,
): Promise<void> {
  const shared = { containerId: id, pid, exitStatus, exitedAt: timestampOf(exitedAt) };
  const exit = packAny(TaskExitSchema, { ...shared, id });
  const deletion = packAny(TaskDeleteSchema, shared);
  const isKnown = exits.exitOf(namespace, id, '') !== undefined;
  // Noted before it is published, so that a shim that tells it as well is too late.
  if (!isKnown && exits.admit({ namespace, topic: '/tasks/exit', event: exit }))
    await events.publish(ctx, '/tasks/exit', exit);
  if (exits.admit({ namespace, topic: '/tasks/delete', event: deletion }))
    await events.publish(ctx, '/tasks/delete', deletion);
}
