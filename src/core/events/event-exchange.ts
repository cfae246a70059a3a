/**
 * Events: in-memory publish and subscribe; live, with no replay but of what happened while the daemon was away.
 * Implemented in exchange.ts beside.
 */
import type { AnyValue } from '../../base/any-value.ts';
import type { Context } from '../../base/context.ts';
import type { Namespace } from '../../base/identifiers.ts';
import type { Instant } from '../../base/time.ts';

export interface Envelope {
  readonly timestamp: Instant;
  readonly namespace: Namespace;
  /** Starts with `/`; its components are identifiers. */
  readonly topic: string;
  readonly event: AnyValue;
}

export interface EventPublisher {
  /** Stamps and validates. Errors: InvalidArgument; FailedPrecondition without a namespace. */
  publish(ctx: Context, topic: string, event: AnyValue): Promise<void>;
}

export interface EventExchange extends EventPublisher {
  /** Of an envelope that somebody else stamped. Errors: InvalidArgument. */
  forward(ctx: Context, envelope: Envelope): Promise<void>;
  /**
   * Envelopes of all namespaces that pass any of `filters` (event-filter.ts), from the moment of the call; soon after
   * the daemon's start first those that happened before it. Ends with the signal. Errors: InvalidArgument at once for a filter that does not parse.
   */
  subscribe(ctx: Context, filters: readonly string[]): AsyncIterable<Envelope>;
}
