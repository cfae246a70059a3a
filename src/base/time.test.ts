import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatInstant, instantOfNs, parseInstant } from './time.ts';

void test('instants are printed to the nanosecond, before 1970 too', () => {
  const rows: readonly (readonly [bigint, string])[] = [
    [0n, '1970-01-01T00:00:00.000000000Z'],
    [1n, '1970-01-01T00:00:00.000000001Z'],
    [-1n, '1969-12-31T23:59:59.999999999Z'],
    [-1_500_000_000n, '1969-12-31T23:59:58.500000000Z'],
  ];
  for (const [ns, text] of rows) assert.equal(formatInstant(instantOfNs(ns)), text);
});

void test('what is printed is read again', () => {
  const years = fc.bigInt({ min: -62_135_596_800_000_000_000n, max: 253_402_300_799_999_999_999n });
  fc.assert(fc.property(years, (ns) => assert.equal(parseInstant(formatInstant(instantOfNs(ns))), ns)));
});
