/** Filters over events: `namespace`, `topic`, and `event.FIELD` of the event's own message. */
import { decodeEvent, eventField, type KnownEvent } from '../../wire/known-events.ts';
import { type FieldLookup, parseFilters } from '../filters/filter.ts';
import type { Envelope } from './event-exchange.ts';

export type EventFilter = (envelope: Envelope) => boolean;

const textOrAbsent = (text: string): string | undefined => (text === '' ? undefined : text);

/** Looks fields up, decoding the event at most once and only when a filter asks for it. */
function lookup(envelope: Envelope): FieldLookup {
  let decoded: { readonly event: KnownEvent | undefined } | undefined;
  return (path) => {
    switch (path[0]) {
      case 'namespace':
        return textOrAbsent(envelope.namespace);
      case 'topic':
        return textOrAbsent(envelope.topic);
      case 'event': {
        decoded ??= { event: decodeEvent(envelope.event) };
        return decoded.event === undefined ? undefined : eventField(decoded.event, path.slice(1));
      }
      default:
        return undefined;
    }
  };
}

/** Errors: InvalidArgument for a filter that does not parse. */
export function parseEventFilters(filters: readonly string[]): EventFilter {
  const passes = parseFilters(filters);
  return (envelope) => passes(lookup(envelope));
}
