/**
 * StopContainer: its signal, once, however often it is asked; SIGKILL when the time is up; and then what the task
 * manager's escalation does. It ends in bounded time, one way or the other.
 */
import { raceSignal, raceTime } from '../../base/bounded-wait.ts';
import type { Context, NamespacedContext } from '../../base/context.ts';
import { deadlineExceeded } from '../../base/errors.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { ContainerState } from '../../wire/gen/runtime/v1/container_pb.js';
import { inCri } from '../cri-context.ts';
import { type CriWorld, unlessAbsent } from '../pods/world.ts';
import { type CriContainer, stateOf } from './container.ts';
import { parseSignal } from './stop-signal.ts';

/** What a killed container may take to end, all steps of the escalation included. */
const killMs = 60_000;

/** Of an unknown container it is done. Errors: DeadlineExceeded. */
export async function stopContainer(
  world: CriWorld,
  context: Context,
  { containerId, timeout }: { readonly containerId: string; readonly timeout: bigint },
): Promise<void> {
  const container = world.containers.find(containerId);
  if (container !== undefined) await stop(world, inCri(context), container, Number(timeout) * 1000);
}

/** `graceMs` 0 kills at once. Errors: DeadlineExceeded. */
export async function stop(
  world: CriWorld,
  ctx: NamespacedContext,
  container: CriContainer,
  graceMs: number,
): Promise<void> {
  // One that is being started is stopped after that.
  (await world.locks.acquire(container.id, ctx))[Symbol.dispose]();
  const target = { containerId: container.id };
  if (stateOf(container.progress) !== ContainerState.CONTAINER_RUNNING) return;
  if (graceMs > 0) {
    if (!container.stopSignalled) {
      container.stopSignalled = true;
      const signal = parseSignal(container.record.stopSignal || 'SIGTERM');
      await unlessAbsent(world.tasks.kill(ctx, target, signal, { all: false }));
    }
    if ((await raceTime(raceSignal(container.ended, ctx.signal), graceMs)) !== undefined) return;
  }
  await unlessAbsent(world.tasks.kill(ctx, target, SIGKILL, { all: true }));
  if ((await raceTime(raceSignal(container.ended, ctx.signal), killMs)) === undefined)
    throw deadlineExceeded(
      `container ${container.id} was killed and has not ended after ${killMs / 1000} s: see "gantry ps"`,
    );
}
