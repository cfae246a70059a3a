/** containerd.services.events.v1 */
import { create } from '@bufbuild/protobuf';
import { type Context, requireNamespace } from '../base/context.ts';
import { invalidArgument, wrap } from '../base/errors.ts';
import { parseNamespace } from '../base/identifiers.ts';
import { instantOfMs } from '../base/time.ts';
import type { Envelope, EventExchange } from '../core/events/event-exchange.ts';
import { anyFromWire, anyToWire } from '../wire/any.ts';
import { Events } from '../wire/gen/containerd/services/events/v1/events_pb.js';
import { EnvelopeSchema, type Envelope as WireEnvelope } from '../wire/gen/containerd/types/event_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { instantOf, timestampOf } from '../wire/timestamps.ts';
import { required } from './convert.ts';

export interface EventsServiceDependencies {
  readonly events: EventExchange;
}

const noEvent = { typeUrl: '', value: new Uint8Array() };

/** Errors: InvalidArgument. */
function envelopeFromWire(envelope: WireEnvelope | undefined): Envelope {
  const given = required(envelope, 'envelope');
  // An absent timestamp reads as the epoch, as in Go; only a zero time is refused.
  const timestamp = given.timestamp === undefined ? instantOfMs(0) : instantOf(given.timestamp);
  if (timestamp === undefined) throw invalidArgument('timestamp must be set on forwarded event');
  try {
    const event = anyFromWire(given.event) ?? noEvent;
    return { timestamp, namespace: parseNamespace(given.namespace), topic: given.topic, event };
  } catch (error) {
    throw wrap('event envelope has invalid namespace', error);
  }
}

/** Errors: FailedPrecondition. */
function publishing(ctx: Context): Context {
  try {
    return requireNamespace(ctx);
  } catch (error) {
    throw wrap('failed publishing event', error);
  }
}

const envelopeToWire = ({ timestamp, namespace, topic, event }: Envelope): WireEnvelope =>
  create(EnvelopeSchema, { timestamp: timestampOf(timestamp), namespace, topic, event: anyToWire(event) });

export const forwardEvent = async (
  events: EventExchange,
  ctx: Context,
  envelope: WireEnvelope | undefined,
): Promise<Record<string, never>> => {
  await events.forward(ctx, envelopeFromWire(envelope));
  return {};
};

export const eventsService = ({ events }: EventsServiceDependencies): ServedService =>
  serve(Events, {
    publish: async (ctx, { topic, event }) => {
      await events.publish(publishing(ctx), topic, anyFromWire(event) ?? noEvent);
      return {};
    },
    forward: (ctx, { envelope }) => forwardEvent(events, ctx, envelope),
    async *subscribe(ctx, { filters }) {
      for await (const envelope of events.subscribe(ctx, filters)) yield envelopeToWire(envelope);
    },
  });
