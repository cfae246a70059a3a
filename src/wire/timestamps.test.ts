import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { TimestampSchema } from '@bufbuild/protobuf/wkt';
import { formatInstant } from '../base/time.ts';
import { instantOf, timestampOf, timestampOrZero } from './timestamps.ts';

void test('what no Timestamp may say reads as the nearest that it may, and can be sent on', () => {
  const rows: readonly (readonly [bigint, number, string])[] = [
    [2n ** 63n - 1n, 2 ** 31 - 1, '9999-12-31T23:59:59.999999999Z'],
    [-(2n ** 63n), -(2 ** 31), '0001-01-01T00:00:00.000000000Z'],
    [0n, -1, '1969-12-31T23:59:59.999999999Z'],
    [0n, 2_000_000_001, '1970-01-01T00:00:02.000000001Z'],
  ];
  for (const [seconds, nanos, text] of rows) {
    const instant = instantOf(create(TimestampSchema, { seconds, nanos }));
    assert.ok(instant !== undefined);
    assert.equal(formatInstant(instant), text);
    assert.ok(toBinary(TimestampSchema, timestampOf(instant)).length > 0);
  }
});

void test("absent and Go's zero time are not yet", () => {
  assert.equal(instantOf(undefined), undefined);
  assert.equal(instantOf(timestampOrZero(undefined)), undefined);
});
