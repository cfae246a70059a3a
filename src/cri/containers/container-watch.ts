/** How a container ends: it is written down before anybody is told, and then its task goes. */
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { now } from '../../base/time.ts';
import { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import { inCri } from '../cri-context.ts';
import { announce } from '../pods/pod-status.ts';
import { type CriWorld, messageOf, unlessAbsent } from '../pods/world.ts';
import type { ContainerProgress, CriContainer } from './container.ts';

const deleteMs = 60_000;

/** Nobody knows how it ended. */
export const lostEnd = { exitCode: 255, reason: 'Unknown' } as const;

const oomKilled = { reason: 'OOMKilled' } as const;

/** From now on, until it ends or the daemon does. */
export function watchContainer(world: CriWorld, container: CriContainer): void {
  container.ended = watch(world, container);
}

async function watch(world: CriWorld, container: CriContainer): Promise<void> {
  const ctx = inCri(world.background);
  const containerId = container.id;
  try {
    const { exitStatus, exitedAt } = await world.tasks.wait(ctx, { containerId });
    finish(world, container, { exitCode: exitStatus, finishedAt: exitedAt ?? now() });
  } catch (error) {
    if (ctx.signal.aborted) return;
    if (!hasCode(error, 'NotFound'))
      ctx.log.warn({ container: containerId, error: messageOf(error) }, 'lost sight of a container');
    finish(world, container, { ...lostEnd, finishedAt: now() });
  }
  await dropTask(world, ctx, container);
}

/** Recorded for good. */
export function finish(
  world: CriWorld,
  container: CriContainer,
  end: Pick<ContainerProgress, 'exitCode' | 'finishedAt'> &
    Partial<Pick<ContainerProgress, 'reason' | 'message'>>,
): void {
  container.progress = {
    ...container.progress,
    ...end,
    pid: 0,
    ...(container.oomKilled && end.reason === undefined && oomKilled),
  };
  write(world, container);
  announce(world, ContainerEventType.CONTAINER_STOPPED_EVENT, {
    podId: container.record.podId,
    containerId: container.id,
  });
}

/** Of one that has ended already. */
export function recordOom(world: CriWorld, container: CriContainer): void {
  if (container.progress.reason !== '') return;
  container.progress = { ...container.progress, ...oomKilled };
  write(world, container);
}

function write(world: CriWorld, { id, progress }: CriContainer): void {
  try {
    world.containerFiles.save(id, progress);
  } catch (error) {
    world.background.log.warn(
      { container: id, error: messageOf(error) },
      'could not write down how a container ended',
    );
  }
}

async function dropTask(world: CriWorld, ctx: NamespacedContext, { id }: CriContainer): Promise<void> {
  try {
    await unlessAbsent(world.tasks.delete(withSignal(ctx, AbortSignal.timeout(deleteMs)), id));
  } catch (error) {
    ctx.log.warn({ container: id, error: messageOf(error) }, 'could not delete the task of a container');
  }
}
