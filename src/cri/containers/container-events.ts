/**
 * GetContainerEvents: what happened to pods and containers. Every subscriber gets every event; while there is none,
 * events wait for the first one, but not for ever.
 *
 * Differs from containerd: a slow subscriber is cut off and holds nobody up.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { AsyncQueue } from '../../base/async-queue.ts';
import type { Context } from '../../base/context.ts';
import { resourceExhausted } from '../../base/errors.ts';
import type { ContainerEventResponseSchema } from '../../wire/gen/runtime/v1/events_pb.js';

export type ContainerEvent = MessageInitShape<typeof ContainerEventResponseSchema>;

const waitMs = 5 * 60_000;
const queueMax = 1000;

export class ContainerEvents {
  readonly #subscribers = new Set<AsyncQueue<ContainerEvent>>();
  #waiting: { readonly event: ContainerEvent; readonly atMs: number }[] = [];

  publish(event: ContainerEvent): void {
    if (this.#subscribers.size === 0) {
      this.#waiting.push({ event, atMs: performance.now() });
      this.#waiting = this.#waiting.slice(-queueMax);
      return;
    }
    for (const queue of this.#subscribers) {
      queue.push(event);
      if (queue.size > queueMax) {
        this.#subscribers.delete(queue);
        queue.end(resourceExhausted(`more than ${queueMax} events wait for this subscriber`));
      }
    }
  }

  /** Until the caller leaves. */
  async *subscribe({ signal }: Pick<Context, 'signal'>): AsyncGenerator<ContainerEvent, void> {
    using queue = new AsyncQueue<ContainerEvent>();
    const leave = (): void => queue.end();
    signal.addEventListener('abort', leave, { once: true });
    this.#subscribers.add(queue);
    const oldest = performance.now() - waitMs;
    for (const { event, atMs } of this.#waiting) if (atMs >= oldest) queue.push(event);
    this.#waiting = [];
    if (signal.aborted) queue.end();
    try {
      yield* queue;
    } finally {
      signal.removeEventListener('abort', leave);
      this.#subscribers.delete(queue);
    }
  }
}
