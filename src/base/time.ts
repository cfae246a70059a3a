/** Instants as clients see them: nanoseconds since the epoch, so that nothing is lost between disk and wire. */
import type { Brand } from './brand.ts';

export type Instant = Brand<bigint, 'Instant'>;

const nanosecondsPerMs = 1_000_000n;
const startNs = BigInt(Date.now()) * nanosecondsPerMs - process.hrtime.bigint();
let last = 0n;

/** The wall clock with the monotonic clock's resolution; never equal to or before the previous reading. */
export function now(): Instant {
  const wallNs = BigInt(Date.now()) * nanosecondsPerMs;
  const fineNs = startNs + process.hrtime.bigint();
  // The fine clock drifts from the wall clock when that is set: then the wall clock counts.
  const driftNs = fineNs - wallNs;
  const instant = driftNs > -2_000_000n && driftNs < 2_000_000n ? fineNs : wallNs;
  last = instant > last ? instant : last + 1n;
  return last as Instant;
}

export const instantOfMs = (ms: number): Instant => (BigInt(Math.trunc(ms)) * nanosecondsPerMs) as Instant;
export const instantOfNs = (ns: bigint): Instant => ns as Instant;
export const msOfInstant = (instant: Instant): number => Number(instant / nanosecondsPerMs);
/** RFC 3339 with nanoseconds, UTC. */
export function formatInstant(instant: Instant): string {
  const rest = instant % 1_000_000_000n;
  const nanos = rest < 0n ? rest + 1_000_000_000n : rest;
  const seconds = (instant - nanos) / 1_000_000_000n;
  const text = new Date(Number(seconds) * 1000).toISOString();
  return `${text.slice(0, text.lastIndexOf('.'))}.${String(nanos).padStart(9, '0')}Z`;
}

const rfc3339 =
  /^(?<seconds>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(?<fraction>\d{1,9})\d*)?(?<zone>Z|[+-]\d{2}:\d{2})$/;

/** RFC 3339 text, nothing rounded; undefined for another form. */
export function parseInstant(text: string): Instant | undefined {
  const match = rfc3339.exec(text);
  const seconds = match?.groups?.['seconds'];
  if (seconds === undefined) return undefined;
  const ms = Date.parse(`${seconds}${match?.groups?.['zone'] ?? 'Z'}`);
  if (Number.isNaN(ms)) return undefined;
  const fractionNs = BigInt((match?.groups?.['fraction'] ?? '').padEnd(9, '0'));
  return (BigInt(ms) * nanosecondsPerMs + fractionNs) as Instant;
}
