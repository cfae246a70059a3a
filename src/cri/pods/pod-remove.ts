/**
 * RemovePodSandbox: stopped by force, its containers removed, then all that was made for it. The record of the pod goes
 * last. A network that its plugins cannot take back is told to the log and does not keep the pod.
 */
import { type Context, forCleanup, type NamespacedContext } from '../../base/context.ts';
import { parseContainerId, parseLeaseId, type SandboxId } from '../../base/identifiers.ts';
import { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import { discard, remove } from '../containers/container-remove.ts';
import { inCri } from '../cri-context.ts';
import type { Pod } from './pod.ts';
import { announce } from './pod-status.ts';
import { stopAll } from './pod-stop.ts';
import { type CriWorld, containersOf, undoMs, unlessAbsent } from './world.ts';

/** Of an unknown pod it is done. Errors: DeadlineExceeded. */
export async function removePod(world: CriWorld, context: Context, text: string): Promise<void> {
  const pod = world.pods.find(text);
  if (pod === undefined) return;
  const ctx = inCri(context);
  using _ = await world.locks.acquire(pod.id, ctx);
  if (world.pods.find(pod.id) === undefined) return;
  await removeAll(world, ctx, pod);
}

async function removeAll(world: CriWorld, ctx: NamespacedContext, pod: Pod): Promise<void> {
  const { id } = pod;
  await stopAll(world, ctx, pod, { leaveNetwork: true });
  await pod.ended;
  for (const container of containersOf(world, id)) await remove(world, ctx, container);
  await discardPod(world, ctx, id);
  announce(world, ContainerEventType.CONTAINER_DELETED_EVENT, { podId: id, containerId: id });
  world.pods.delete(id);
  world.podNames.release(id);
}

/** All that is stored of a pod without a task and a network. Idempotent. */
export async function discardPod(world: CriWorld, called: NamespacedContext, id: SandboxId): Promise<void> {
  const ctx = forCleanup(called, undoMs);
  await discard(world, ctx, parseContainerId(id));
  world.podFiles.remove(id);
  await unlessAbsent(world.leases.delete(ctx, parseLeaseId(id), {}));
  await unlessAbsent(world.sandboxes.delete(ctx, id));
}
