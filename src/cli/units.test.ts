import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instantOfMs } from '../base/time.ts';
import { parseSignal } from './signals.ts';
import { formatJson, formatTable, printable, truncated } from './table.ts';
import {
  formatAge,
  formatDuration,
  formatSize,
  parseAmount,
  parseCount,
  parseDurationMs,
  parseSize,
} from './units.ts';

test('sizes are read and written in powers of 1024', () => {
  const written: [number, string][] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [20 * 1024 ** 2, '20.0 MiB'],
    [5 * 1024 ** 5, '5120.0 TiB'],
  ];
  for (const [bytes, text] of written) assert.equal(formatSize(bytes), text);
  const read: [string, number][] = [
    ['512', 512],
    ['512b', 512],
    ['64k', 65_536],
    ['64M', 67_108_864],
    ['1.5g', 1_610_612_736],
    ['1GiB', 1_073_741_824],
  ];
  for (const [text, bytes] of read) assert.equal(parseSize(text, '--memory'), bytes);
  for (const text of ['', '0', '-1', 'x', '1q', '1 2', '9'.repeat(30)])
    assert.throws(() => parseSize(text, '--memory'), { exitCode: 2 }, text);
});

test('counts, amounts, durations and signals refuse what they are not', () => {
  assert.equal(parseCount('10', '--tail'), 10);
  assert.equal(parseAmount('.5', '--cpus'), 0.5);
  assert.equal(parseDurationMs('90', '--time'), 90_000);
  assert.equal(parseDurationMs('1.5m', '--time'), 90_000);
  for (const text of ['TERM', 'sigterm', '15']) assert.equal(parseSignal(text, '-s'), 15);
  for (const text of ['-1', '1.5', 'x', '']) assert.throws(() => parseCount(text, '--tail'), { exitCode: 2 });
  for (const text of ['0', '-1', 'x', '']) assert.throws(() => parseAmount(text, '--cpus'), { exitCode: 2 });
  for (const text of ['-1', 'm', '1d']) assert.throws(() => parseDurationMs(text, '-t'), { exitCode: 2 });
  for (const text of ['0', '65', 'NOPE', '']) assert.throws(() => parseSignal(text, '-s'), { exitCode: 2 });
});

test('ages take the largest unit that fits', () => {
  const now = 1_000_000_000_000;
  const cases: [number, string][] = [
    [0, 'just now'],
    [1000, '1 second ago'],
    [59_000, '59 seconds ago'],
    [3_600_000, '1 hour ago'],
    [15 * 86_400_000, '2 weeks ago'],
    [-5000, 'just now'],
  ];
  for (const [ms, text] of cases) assert.equal(formatAge(instantOfMs(now - ms), now), text);
  assert.equal(formatDuration(63_000), '1 min 03 s');
});

test('tables are aligned and free of control characters', () => {
  const table = formatTable(
    ['A', 'LONG'],
    [
      ['x\u001b[31m', '1'],
      ['yy', ''],
    ],
  );
  assert.equal(table, 'A       LONG\nx?[31m  1\nyy\n');
  assert.equal(printable('a\u0000\u009bb'), 'a??b');
  assert.equal(truncated('abcdef', 4), 'abc…');
  assert.equal(formatJson({ big: 1n }), '{\n  "big": "1"\n}\n');
});
