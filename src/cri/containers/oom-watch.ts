/** Containers that the kernel took memory from: the shims tell by an event, before or after the end. */

import type { EventExchange } from '../../core/events/event-exchange.ts';
import { unpackAny } from '../../wire/any.ts';
import { TaskOOMSchema } from '../../wire/gen/containerd/events/task_pb.js';
import { inCri } from '../cri-context.ts';
import { type CriWorld, messageOf } from '../pods/world.ts';
import { recordOom } from './container-watch.ts';

/** Until the daemon stops. */
export function watchOom(world: CriWorld, events: Pick<EventExchange, 'subscribe'>): void {
  const ctx = inCri(world.background);
  const heard = events.subscribe(ctx, [`topic=="/tasks/oom",namespace==${ctx.namespace}`]);
  const listen = async (): Promise<void> => {
    for await (const { event } of heard) {
      const { containerId } = unpackAny(TaskOOMSchema, event);
      const container = world.containers.find(containerId);
      if (container?.id !== containerId) continue;
      container.oomKilled = true;
      // Told after the end, it belongs to what was written down of it; else the end writes it.
      if (container.progress.finishedAt > 0n) recordOom(world, container);
    }
  };
  listen().catch((error: unknown) => {
    if (!ctx.signal.aborted)
      ctx.log.warn({ error: messageOf(error) }, 'what runs out of memory is not heard of any more');
  });
}
