/** Events, live and of all namespaces unless filtered: `for await (const event of gantry.events.subscribe())`. */
import type { AnyValue } from '../base/any-value.ts';
import type { Instant } from '../base/time.ts';
import { anyFromWire, anyToWire } from '../wire/any.ts';
import { Events } from '../wire/gen/containerd/services/events/v1/events_pb.js';
import { knownInstantOf } from './convert.ts';
import { decodeEvent } from './event-types.ts';
import type { Call, Scope } from './scope.ts';

export interface EventEnvelope {
  readonly timestamp: Instant;
  readonly namespace: string;
  /** `/tasks/exit`, `/images/create`, … */
  readonly topic: string;
  readonly event: AnyValue;
  /** The event's fields by name (JSON mapping of protobuf); undefined for a type that this client does not know. */
  readonly fields: Readonly<Record<string, unknown>> | undefined;
}

export class EventsClient {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /**
   * Events from about now on: those before the daemon has seen the call are missed. Filters over namespace, topic and
   * event fields are or-ed. Ends by breaking out of the loop or by `signal`. Errors: InvalidArgument.
   */
  async *subscribe(filters: readonly string[] = [], call?: Call): AsyncGenerator<EventEnvelope, void> {
    const stream = this.#scope.client(Events).subscribe({ filters: [...filters] }, this.#scope.options(call));
    for await (const envelope of stream) {
      const event = anyFromWire(envelope.event) ?? { typeUrl: '', value: new Uint8Array() };
      yield {
        timestamp: knownInstantOf(envelope.timestamp),
        namespace: envelope.namespace,
        topic: envelope.topic,
        event,
        fields: decodeEvent(event),
      };
    }
  }

  /** Publishes in this client's namespace. Errors: InvalidArgument for a topic that is none. */
  async publish(topic: string, event: AnyValue, call?: Call): Promise<void> {
    await this.#scope.client(Events).publish({ topic, event: anyToWire(event) }, this.#scope.options(call));
  }
}
