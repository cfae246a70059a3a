/** RemoveContainer: stopped by force when it runs; its record goes last, so that what a crash leaves is found by it. */
import { type Context, forCleanup, type NamespacedContext } from '../../base/context.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import { inCri } from '../cri-context.ts';
import { announce } from '../pods/pod-status.ts';
import { type CriWorld, undoMs, unlessAbsent } from '../pods/world.ts';
import type { CriContainer } from './container.ts';
import { stop } from './container-stop.ts';

/** Of an unknown container it is done. Errors: DeadlineExceeded (it does not end). */
export async function removeContainer(world: CriWorld, context: Context, text: string): Promise<void> {
  const container = world.containers.find(text);
  if (container !== undefined) await remove(world, inCri(context), container);
}

export async function remove(
  world: CriWorld,
  ctx: NamespacedContext,
  container: CriContainer,
): Promise<void> {
  const { id, record } = container;
  await stop(world, ctx, container, 0);
  await container.ended;
  using _ = await world.locks.acquire(id, ctx);
  if (world.containers.find(id) === undefined) return;
  await discard(world, ctx, id);
  world.containers.delete(id);
  world.containerNames.release(id);
  announce(world, ContainerEventType.CONTAINER_DELETED_EVENT, { podId: record.podId, containerId: id });
}

/** All that is stored of a container without a task. Idempotent. */
export async function discard(
  world: CriWorld,
  called: NamespacedContext,
  id: CriContainer['id'],
): Promise<void> {
  const ctx = forCleanup(called, undoMs);
  const stored = await unlessAbsent(world.records.get(ctx, id));
  if (stored !== undefined) {
    const { snapshotter, snapshotKey } = stored;
    if (snapshotKey !== '')
      await unlessAbsent(world.snapshotter(snapshotter).remove(ctx, parseSnapshotKey(snapshotKey)));
  }
  world.containerFiles.remove(id);
  await unlessAbsent(world.records.delete(ctx, id));
}
