/**
 * Instants on the wire (google.protobuf.Timestamp), nothing rounded. What is outside of the years 1 to 9999, which is all
 * that a Timestamp may say, reads as the nearest that is inside: so whatever a client sent can be sent on.
 *
 * Go's zero time stands for "not yet" in many answers of containerd (a running process's exited_at): it travels as the
 * year 1, and an absent field means the same to its clients. Both read as undefined here.
 */
import { create } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import { type Instant, instantOfNs } from '../base/time.ts';

const nanosecondsPerSecond = 1_000_000_000n;
/** 0001-01-01T00:00:00Z, Go's time.Time{}. */
const goZeroSeconds = -62_135_596_800n;
/** 9999-12-31T23:59:59Z. */
const lastSeconds = 253_402_300_799n;

export function timestampOf(instant: Instant): Timestamp {
  const rest = instant % nanosecondsPerSecond;
  const nanos = rest < 0n ? rest + nanosecondsPerSecond : rest;
  return create(TimestampSchema, {
    seconds: (instant - nanos) / nanosecondsPerSecond,
    nanos: Number(nanos),
  });
}

/** As `timestampOf`; "not yet" goes out as Go's zero time, as containerd sends it. */
export const timestampOrZero = (instant: Instant | undefined): Timestamp =>
  instant === undefined ? create(TimestampSchema, { seconds: goZeroSeconds }) : timestampOf(instant);

export function instantOf(timestamp: Timestamp | undefined): Instant | undefined {
  if (timestamp === undefined || timestamp.seconds === goZeroSeconds) return undefined;
  const ns = timestamp.seconds * nanosecondsPerSecond + BigInt(timestamp.nanos);
  const first = goZeroSeconds * nanosecondsPerSecond;
  const last = (lastSeconds + 1n) * nanosecondsPerSecond - 1n;
  return instantOfNs(ns < first ? first : ns > last ? last : ns);
}
