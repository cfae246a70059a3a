/**
 * The event exchange: who publishes does not wait for who listens.
 *
 * A subscriber sees what is published from the moment of its call, in the order of publishing. Unlike containerd's,
 * its queue has a bound: a subscriber that does not read gets what was queued and then ResourceExhausted, so it knows
 * that it missed something (docs/decisions/0040).
 *
 * What a shim tells of the time before the daemon's start comes when hardly any client has connected again, and one
 * like dockerd would wait for such an exit for ever. So it is kept for a while, and a new subscriber hears it first. In
 * containerd it depends on the moment at which the shim tries again.
 */
import type { AnyValue } from '../../base/any-value.ts';
import { AsyncQueue } from '../../base/async-queue.ts';
import { type Context, requireNamespace } from '../../base/context.ts';
import { invalidArgument, resourceExhausted, wrap } from '../../base/errors.ts';
import { checkIdentifier } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { type Instant, now } from '../../base/time.ts';
import type { Envelope, EventExchange } from './event-exchange.ts';
import { type EventFilter, parseEventFilters } from './event-filter.ts';

export interface ExchangeOptions {
  /** Bounds of one subscriber's queue. */
  readonly queue?: number;
  readonly queueBytes?: number;
  /** How long after the exchange was made new subscribers hear what happened before. */
  readonly missedMs?: number;
}

const nanosecondsPerMs = 1_000_000n;

export class Exchange implements EventExchange {
  readonly #subscribers = new Set<Subscriber>();
  readonly #options: Required<ExchangeOptions>;
  readonly #startedAt: Instant = now();
  /** Older than the exchange, in the order of their arrival. */
  #missed: Envelope[] = [];

  constructor(options: ExchangeOptions = {}) {
    this.#options = {
      queue: limits.eventSubscriberQueue,
      queueBytes: limits.eventSubscriberBytes,
      missedMs: limits.eventMissedMs,
      ...options,
    };
  }

  async publish(ctx: Context, topic: string, event: AnyValue): Promise<void> {
    const { namespace } = requireNamespace(ctx);
    checkTopic(topic);
    this.#deliver({ timestamp: now(), namespace, topic, event });
  }

  async forward(_ctx: Context, envelope: Envelope): Promise<void> {
    checkTopic(envelope.topic);
    if (
      envelope.timestamp < this.#startedAt &&
      this.#tellsMissed() &&
      this.#missed.length < limits.eventsMissed
    )
      this.#missed.push(envelope);
    this.#deliver(envelope);
  }

  subscribe(ctx: Context, filters: readonly string[]): AsyncIterable<Envelope> {
    const subscriber = new Subscriber(parseEventFilters(filters), this.#options);
    if (this.#tellsMissed()) for (const envelope of this.#missed) subscriber.offer(envelope);
    this.#subscribers.add(subscriber);
    const leave = (): void => {
      ctx.signal.removeEventListener('abort', leave);
      this.#subscribers.delete(subscriber);
      subscriber.end();
    };
    if (ctx.signal.aborted) leave();
    else ctx.signal.addEventListener('abort', leave, { once: true });
    return subscriber.envelopes(leave);
  }

  /** How many listen now. */
  get subscribers(): number {
    return this.#subscribers.size;
  }

  #tellsMissed(): boolean {
    const tells = now() - this.#startedAt <= BigInt(this.#options.missedMs) * nanosecondsPerMs;
    if (!tells) this.#missed = [];
    return tells;
  }

  #deliver(envelope: Envelope): void {
    for (const subscriber of this.#subscribers)
      if (!subscriber.offer(envelope)) this.#subscribers.delete(subscriber);
  }
}

/** What an envelope costs while it waits, roughly. */
const sizeOf = (envelope: Envelope): number => envelope.event.value.byteLength + envelope.topic.length + 256;

class Subscriber {
  readonly #queue = new AsyncQueue<Envelope>();
  readonly #filter: EventFilter;
  readonly #bounds: Required<ExchangeOptions>;
  #queuedBytes = 0;

  constructor(filter: EventFilter, bounds: Required<ExchangeOptions>) {
    this.#filter = filter;
    this.#bounds = bounds;
  }

  /** False when the subscriber is too far behind and was told so. */
  offer(envelope: Envelope): boolean {
    if (!this.#filter(envelope)) return true;
    if (this.#queue.size >= this.#bounds.queue || this.#queuedBytes >= this.#bounds.queueBytes) {
      this.#queue.end(
        resourceExhausted(
          `the subscriber reads too slowly: ${this.#queue.size} events were waiting and later ones are lost; subscribe again and list what is there`,
        ),
      );
      return false;
    }
    this.#queuedBytes += sizeOf(envelope);
    this.#queue.push(envelope);
    return true;
  }

  end(): void {
    this.#queue.end();
  }

  async *envelopes(onLeave: () => void): AsyncGenerator<Envelope, void> {
    try {
      for await (const envelope of this.#queue) {
        this.#queuedBytes -= sizeOf(envelope);
        yield envelope;
      }
    } finally {
      onLeave();
    }
  }
}

/** Errors: InvalidArgument for a topic that is not `/` and identifiers with `/` between them. */
function checkTopic(topic: string): void {
  const shown = `envelope topic ${JSON.stringify(topic)}`;
  if (topic === '') throw invalidArgument(`${shown}: must not be empty`);
  if (!topic.startsWith('/')) throw invalidArgument(`${shown}: must start with '/'`);
  if (topic === '/') throw invalidArgument(`${shown}: must have at least one component`);
  for (const component of topic.slice(1).split('/'))
    try {
      checkIdentifier(component);
    } catch (error) {
      throw wrap(`${shown}: failed validation on component ${JSON.stringify(component)}`, error);
    }
}
