/**
 * Where a span stands in its trace, and how that travels between processes.
 * Source: W3C Trace Context, `traceparent` and `tracestate`.
 */
import { randomBytes } from 'node:crypto';

export interface SpanContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
  readonly sampled: boolean;
  /** Of other vendors; passed on unread. "" for none. */
  readonly traceState: string;
}

const form =
  /^(?<version>[0-9a-f]{2})-(?<trace>[0-9a-f]{32})-(?<span>[0-9a-f]{16})-(?<flags>[0-9a-f]{2})(?<more>-.*)?$/;
const traceStateBytes = 512;

/** Undefined when there is none, or none that holds: a caller's mistake starts a trace of our own. */
export function parseTraceParent(
  parent: string | undefined,
  state: string | undefined,
): SpanContext | undefined {
  const { version, trace, span, flags, more } = form.exec(parent?.trim() ?? '')?.groups ?? {};
  if (trace === undefined || span === undefined || flags === undefined) return undefined;
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (/^0+$/.test(trace) || /^0+$/.test(span)) return undefined;
  const traceState = state !== undefined && state.length <= traceStateBytes ? state : '';
  return { traceId: trace, spanId: span, sampled: (Number.parseInt(flags, 16) & 1) === 1, traceState };
}

export const formatTraceParent = ({ traceId, spanId, sampled }: SpanContext): string =>
  `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;

export const newTraceId = (): string => randomBytes(16).toString('hex');
export const newSpanId = (): string => randomBytes(8).toString('hex');
