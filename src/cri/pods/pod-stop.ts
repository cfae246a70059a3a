/** StopPodSandbox: all its containers at once, its own process, its network. A pod that is stopped can be stopped again. */

import { raceSignal, raceTime } from '../../base/bounded-wait.ts';
import { type Context, forCleanup, type NamespacedContext } from '../../base/context.ts';
import { deadlineExceeded } from '../../base/errors.ts';
import { parseContainerId } from '../../base/identifiers.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { stop } from '../containers/container-stop.ts';
import { inCri } from '../cri-context.ts';
import type { Pod } from './pod.ts';
import { type CriWorld, containersOf, messageOf, undoMs, unlessAbsent } from './world.ts';

/** What a killed pause process may take to end, all steps of the escalation included. */
const killMs = 60_000;

/** Of an unknown pod it is done. Errors: DeadlineExceeded, those of the network's plugins. */
export async function stopPod(world: CriWorld, context: Context, text: string): Promise<void> {
  const pod = world.pods.find(text);
  if (pod === undefined) return;
  const ctx = inCri(context);
  using _ = await world.locks.acquire(pod.id, ctx);
  await stopAll(world, ctx, pod);
}

/**
 * The caller holds the pod's lock. With `leaveNetwork`, what its plugins cannot take back is told to the log, and stays
 * known for the next collection.
 */
export async function stopAll(
  world: CriWorld,
  ctx: NamespacedContext,
  pod: Pod,
  { leaveNetwork = false }: { readonly leaveNetwork?: boolean } = {},
): Promise<void> {
  const ends = await Promise.allSettled(
    containersOf(world, pod.id).map((container) => stop(world, ctx, container, 0)),
  );
  await stopPause(world, ctx, pod);
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  if (pod.record.netns !== '') {
    try {
      await world.network.tearDown(forCleanup(ctx, undoMs), pod.id);
    } catch (error) {
      if (!leaveNetwork) throw error;
      ctx.log.warn(
        { pod: pod.id, error: messageOf(error) },
        'the network of a removed pod is left for later',
      );
    }
    world.namespaces.remove(pod.id);
  }
  world.podFiles.unmountShm(pod.id);
}

async function stopPause(world: CriWorld, ctx: NamespacedContext, pod: Pod): Promise<void> {
  if (!pod.ready) return;
  await unlessAbsent(
    world.tasks.kill(ctx, { containerId: parseContainerId(pod.id) }, SIGKILL, { all: true }),
  );
  if ((await raceTime(raceSignal(pod.ended, ctx.signal), killMs)) === undefined)
    throw deadlineExceeded(`pod ${pod.id} was killed and has not ended after ${killMs / 1000} s`);
}
