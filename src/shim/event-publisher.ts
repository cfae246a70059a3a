/**
 * The way home for events: Forward on the daemon's ttrpc socket, one at a time, so that their order is kept.
 *
 * An event that the daemon refuses is tried 5 times with a growing delay and then dropped, as in containerd. One that
 * cannot be delivered because no daemon answers waits for it: up to 2048 of them, the oldest go first. containerd's
 * shims count those tries as well and lose the exits of a longer restart.
 */
import { setTimeout as after } from 'node:timers/promises';
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import type { AnyValue } from '../base/any-value.ts';
import { raceTime } from '../base/bounded-wait.ts';
import { ContainerdError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import { type Instant, now } from '../base/time.ts';
import { anyToWire, packAny } from '../wire/any.ts';
import { Events } from '../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import type { CallOptions, Connection } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';

interface QueuedEvent {
  readonly namespace: string;
  readonly topic: string;
  readonly timestamp: Instant;
  readonly event: AnyValue;
  readonly onTaken: (() => void) | undefined;
  refusals: number;
}

export interface EventPublisherDependencies {
  /** Connects to the daemon. Errors: Unavailable when there is none. */
  readonly connect: (signal: AbortSignal) => Promise<Connection>;
  readonly log: Logger;
}

export interface EventPublisherOptions {
  readonly forwardMs?: number;
  /** Unit of the growing delay. */
  readonly retryMs?: number;
}

const triesMax = 5;
const reconnectMsMax = 5_000;

export class EventPublisher implements AsyncDisposable {
  readonly #dependencies: EventPublisherDependencies;
  readonly #forwardMs: number;
  readonly #retryMs: number;
  readonly #queue: QueuedEvent[] = [];
  readonly #stopped = new AbortController();
  #connection: Connection | undefined;
  #sending: Promise<void> | undefined;
  #waitMs = 0;

  constructor(dependencies: EventPublisherDependencies, options: EventPublisherOptions = {}) {
    this.#dependencies = dependencies;
    this.#forwardMs = options.forwardMs ?? limits.shimForwardMs;
    this.#retryMs = options.retryMs ?? 1_000;
  }

  /** Events that have not arrived yet. */
  get size(): number {
    return this.#queue.length;
  }

  /** `onTaken` is called when the daemon has answered that it has the event. */
  publish<Schema extends DescMessage>(
    namespace: string,
    topic: string,
    schema: Schema,
    event: MessageInitShape<Schema>,
    onTaken?: () => void,
  ): void {
    if (this.#queue.length >= limits.shimEventQueue) {
      // The first one may be on its way.
      const [dropped] = this.#queue.splice(1, 1);
      this.#dependencies.log.warn(
        { topic: dropped?.topic },
        'too many events wait for the daemon, dropped one',
      );
    }
    const packed = packAny(schema, event);
    this.#queue.push({ namespace, topic, timestamp: now(), event: packed, onTaken, refusals: 0 });
    this.#sending ??= this.#send();
  }

  /** Everything queued has gone out, or `timeoutMs` have gone by. */
  async flushed(timeoutMs: number): Promise<void> {
    if (this.#sending !== undefined) await raceTime(this.#sending, timeoutMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#sending;
    await this.#connection?.[Symbol.asyncDispose]();
  }

  async #send(): Promise<void> {
    const { signal } = this.#stopped;
    while (this.#queue.length > 0 && !signal.aborted) {
      const delayMs = await this.#sendFirst(this.#queue[0] as QueuedEvent);
      if (delayMs > 0) await after(delayMs, undefined, { signal }).catch(() => {});
    }
    this.#sending = undefined;
  }

  /** Milliseconds to wait before the next try; 0 when the event is done with. */
  async #sendFirst(event: QueuedEvent): Promise<number> {
    try {
      await this.#forward(event);
    } catch (thrown) {
      const error = ContainerdError.from(thrown);
      const { log } = this.#dependencies;
      if (error.code === 'Unavailable') return this.#unreachable(error);
      event.refusals += 1;
      if (event.refusals < triesMax) return event.refusals * this.#retryMs;
      log.error(
        { error, topic: event.topic, namespace: event.namespace },
        'the daemon did not take an event',
      );
      this.#queue.shift();
      return 0;
    }
    this.#waitMs = 0;
    this.#queue.shift();
    this.#tellTaken(event);
    return 0;
  }

  /** Its failure must not send the event again. */
  #tellTaken({ onTaken, topic }: QueuedEvent): void {
    try {
      onTaken?.();
    } catch (error) {
      this.#dependencies.log.warn({ error, topic }, 'could not note that the daemon took an event');
    }
  }

  #unreachable(error: ContainerdError): number {
    if (this.#waitMs === 0) this.#dependencies.log.info({ error }, 'events wait for the daemon to come back');
    this.#waitMs = Math.min(this.#waitMs + this.#retryMs / 4, reconnectMsMax);
    return this.#waitMs;
  }

  async #forward(event: QueuedEvent): Promise<void> {
    const options: CallOptions = {
      namespace: event.namespace,
      timeoutMs: this.#forwardMs,
      signal: this.#stopped.signal,
    };
    this.#connection ??= await this.#connect();
    await this.#connection.client(Events).forward(
      {
        envelope: {
          timestamp: timestampOf(event.timestamp),
          namespace: event.namespace,
          topic: event.topic,
          event: anyToWire(event.event),
        },
      },
      options,
    );
  }

  async #connect(): Promise<Connection> {
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(this.#forwardMs)]);
    const connection = await this.#dependencies.connect(signal);
    void connection.closed.then(() => {
      if (this.#connection === connection) this.#connection = undefined;
    });
    return connection;
  }
}
