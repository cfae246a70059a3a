/** A pod is ready for as long as its pause process runs. */
import { withSignal } from '../../base/context.ts';
import { parseContainerId } from '../../base/identifiers.ts';
import { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import { inCri } from '../cri-context.ts';
import type { Pod } from './pod.ts';
import { announce } from './pod-status.ts';
import { type CriWorld, messageOf, unlessAbsent } from './world.ts';

/** From now on, until the pause process ends or the daemon does. */
export function watchPod(world: CriWorld, pod: Pod): void {
  pod.ended = watch(world, pod);
}

async function watch(world: CriWorld, pod: Pod): Promise<void> {
  const ctx = inCri(world.background);
  const containerId = parseContainerId(pod.id);
  try {
    await unlessAbsent(world.tasks.wait(ctx, { containerId }));
  } catch (error) {
    if (ctx.signal.aborted) return;
    ctx.log.warn({ pod: pod.id, error: messageOf(error) }, 'lost sight of the process of a pod');
  }
  pod.ready = false;
  pod.pid = 0;
  announce(world, ContainerEventType.CONTAINER_STOPPED_EVENT, { podId: pod.id, containerId: pod.id });
  try {
    await unlessAbsent(world.tasks.delete(withSignal(ctx, AbortSignal.timeout(60_000)), containerId));
  } catch (error) {
    ctx.log.warn({ pod: pod.id, error: messageOf(error) }, 'could not delete the task of a pod');
  }
}
