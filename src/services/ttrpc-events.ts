/** containerd.services.events.ttrpc.v1, the way home for shims: only Forward. */
import { Events } from '../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { type EventsServiceDependencies, forwardEvent } from './events.ts';

export const ttrpcEventsService = ({ events }: EventsServiceDependencies): ServedService =>
  serve(Events, { forward: (ctx, { envelope }) => forwardEvent(events, ctx, envelope) });
