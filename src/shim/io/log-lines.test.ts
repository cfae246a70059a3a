/** Lines of CRI logs: tags, cuts, and that pieces come out as the whole does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { instantOfNs } from '../../base/time.ts';
import { formatLines, lineHeads } from './log-lines.ts';

const heads = lineHeads(instantOfNs(1_700_000_000_123_456_789n), 'stdout');
const head = '2023-11-14T22:13:20.123456789Z stdout';

function format(input: Buffer, maxLineBytes: number, isLast: boolean, outBytes = 100_000) {
  const out = Buffer.alloc(outBytes);
  const { consumedBytes, writtenBytes } = formatLines(input, out, heads, { maxLineBytes, isLast });
  return { consumedBytes, written: Buffer.from(out.subarray(0, writtenBytes)) };
}

const rows: readonly (readonly [text: string, maxLine: number, lines: readonly string[]])[] = [
  ['one\ntwo\n', 10, ['F one', 'F two']],
  ['\n\n', 10, ['F ', 'F ']],
  // As containerd.
  ['dos\r\n\r\n', 10, ['F dos', 'F ']],
  ['a\rb\n', 10, ['F a\rb']],
  // Exactly the bound is no cut, and no empty piece follows one.
  ['abcd\n', 4, ['F abcd']],
  ['abcde\n', 4, ['P abcd', 'F e']],
  ['abcdefgh\n', 4, ['P abcd', 'F efgh']],
  ['abcd\r\n', 4, ['F abcd']],
  ['no end', 10, ['P no end']],
  ['no end at all', 6, ['P no end', 'P  at al', 'P l']],
];
for (const [text, maxLine, lines] of rows)
  test(`${JSON.stringify(text)} in lines of ${maxLine}`, () => {
    const { written } = format(Buffer.from(text), maxLine, true);
    assert.equal(String(written), lines.map((line) => `${head} ${line}\n`).join(''));
  });

test('what has no newline yet waits, unless it is longer than the bound', () => {
  assert.equal(format(Buffer.from('a\nb'), 4, false).consumedBytes, 2);
  assert.equal(format(Buffer.from('abcd\r'), 4, false).consumedBytes, 0);
  assert.equal(format(Buffer.from('abcde'), 4, false).consumedBytes, 4);
});

const text = fc
  .array(fc.oneof(fc.constantFrom(0x0a, 0x0d, 0x61), fc.nat(255)), { maxLength: 300 })
  .map((bytes) => Buffer.from(bytes));

test('in pieces of any size, and with little room, the same comes out', () => {
  fc.assert(
    fc.property(
      text,
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 50 }),
      (input, maxLine, step) => {
        const pieces: Buffer[] = [];
        let waiting = Buffer.alloc(0);
        for (let at = 0; at < input.length || waiting.length > 0; at += step) {
          waiting = Buffer.concat([waiting, input.subarray(at, at + step)]);
          const isLast = at + step >= input.length;
          for (;;) {
            const { consumedBytes, written } = format(waiting, maxLine, isLast, 120);
            if (consumedBytes === 0) break;
            // A batch that is made again alone is the same.
            const again = format(waiting.subarray(0, consumedBytes), maxLine, true);
            assert.deepEqual(again.written, written);
            pieces.push(written);
            waiting = waiting.subarray(consumedBytes);
          }
          if (isLast) assert.equal(waiting.length, 0);
        }
        assert.deepEqual(Buffer.concat(pieces), format(input, maxLine, true).written);
      },
    ),
  );
});

test('every byte comes back when the pieces are joined', () => {
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 20 }), (input, maxLine) => {
      const written = format(input, maxLine, true).written.toString('latin1');
      const joined = written
        .split('\n')
        .slice(0, -1)
        .map((line) => line.slice(head.length + 3) + (line.charAt(head.length + 1) === 'F' ? '\n' : ''))
        .join('');
      assert.equal(joined, input.toString('latin1').replaceAll('\r\n', '\n'));
    }),
  );
});
