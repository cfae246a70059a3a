/** Times of clients: on the wire they can be sent on and printed, and in labels they come again as they were printed. */
import assert from 'node:assert/strict';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { TimestampSchema } from '@bufbuild/protobuf/wkt';
import { internal } from '../../../src/base/errors.ts';
import { formatInstant, parseInstant } from '../../../src/base/time.ts';
import { instantOf, timestampOf } from '../../../src/wire/timestamps.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

const stamp = (hex: string): Buffer => Buffer.from(hex, 'hex');

export const timestamp: FuzzTarget = {
  name: 'timestamp',
  seeds: [stamp('08959aef3a'), stamp('08959aef3a1001'), stamp('08ffffffffffffffffff011005'), ''],
  hostile: [
    // Both bounds of seconds, with as many nanoseconds as fit in.
    stamp('08ffffffffffffffff7f10ffffffff07'),
    stamp('0880808080808080808001108080808008'),
    // The year 1 and a little less than nothing.
    stamp('088092b8c398feffffff0110ffffffffffffffffff01'),
  ],
  refusals: ['Internal'],
  check(input) {
    const instant = instantOf(decode(input));
    if (instant === undefined) return;
    const sent = fromBinary(TimestampSchema, toBinary(TimestampSchema, timestampOf(instant)));
    assert.ok(sent.nanos >= 0 && sent.nanos < 1_000_000_000);
    const again = instantOf(sent);
    // The first instant of all is Go's "not yet".
    if (again !== undefined) assert.equal(again, instant);
    assert.equal(parseInstant(formatInstant(instant)), instant);
  },
};

/** The library's own errors are those of whoever asked it. */
function decode(input: Buffer): ReturnType<typeof fromBinary<typeof TimestampSchema>> {
  try {
    return fromBinary(TimestampSchema, input);
  } catch (error) {
    throw internal(String(error), error);
  }
}

export const instant: FuzzTarget = {
  name: 'instant',
  seeds: [
    '2024-02-29T12:00:00Z',
    '1969-12-31T23:59:59.5Z',
    '0001-01-01T00:00:00.000000001+14:00',
    '9999-12-31T23:59:59Z',
  ],
  hostile: ['9999-12-31T23:59:59-23:59', '2024-13-45T99:99:99Z', '0000-01-01T00:00:00+23:59'],
  words: ['T', 'Z', '+', '-', ':', '.', '59', '60', '24'],
  refusals: [],
  check(input) {
    const parsed = parseInstant(textOf(input));
    if (parsed === undefined) return;
    const printed = formatInstant(parsed);
    // What a zone moved out of the four digits of a year.
    if (/^\d{4}-/.test(printed)) assert.equal(parseInstant(printed), parsed);
  },
};
