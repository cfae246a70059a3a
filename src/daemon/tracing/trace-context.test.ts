import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assert as always, boolean, constantFrom, pre, property, string } from 'fast-check';
import { formatTraceParent, newSpanId, newTraceId, parseTraceParent } from './trace-context.ts';

const hex = (digits: number) =>
  string({ unit: constantFrom(...Array.from('0123456789abcdef')), minLength: digits, maxLength: digits });

test('what is written is read again', () => {
  always(
    property(hex(32), hex(16), boolean(), (traceId, spanId, sampled) => {
      pre(!/^0+$/.test(traceId) && !/^0+$/.test(spanId));
      const context = { traceId, spanId, sampled, traceState: 'a=b' };
      assert.deepEqual(parseTraceParent(formatTraceParent(context), 'a=b'), context);
    }),
  );
});

test('new identifiers are of the right form', () => {
  const context = { traceId: newTraceId(), spanId: newSpanId(), sampled: true, traceState: '' };
  assert.deepEqual(parseTraceParent(formatTraceParent(context), undefined), context);
});

const [trace, span] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
const cases: readonly (readonly [string, string | undefined, boolean])[] = [
  ['none', undefined, false],
  ['a newer version with more behind', `01-${trace}-${span}-01-more`, true],
  ['version 00 with more behind', `00-${trace}-${span}-01-more`, false],
  ['the version that never is', `ff-${trace}-${span}-01`, false],
  ['no trace', `00-${'0'.repeat(32)}-${span}-01`, false],
  ['no span', `00-${trace}-${'0'.repeat(16)}-01`, false],
  ['upper case', `00-${trace.toUpperCase()}-${span}-01`, false],
  ['cut off', `00-${trace}-${span}`, false],
];

for (const [what, text, holds] of cases)
  test(`traceparent: ${what}`, () => assert.equal(parseTraceParent(text, undefined) !== undefined, holds));

test('a state that is too long is left out, and the trace goes on', () => {
  assert.equal(parseTraceParent(`00-${trace}-${span}-01`, 'x'.repeat(513))?.traceState, '');
});

test('hostile text never throws', () => {
  always(property(string(), string(), (parent, state) => void parseTraceParent(parent, state)));
});
