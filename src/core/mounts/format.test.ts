import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { hasCode } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { formatMount } from './format.ts';

const active = ['a', 'b', 'c'].map((name) => ({
  mount: { type: 'bind', source: `/source/${name}`, target: `target/${name}`, options: [] },
  mountedAt: now(),
  mountPoint: `/mounted/${name}`,
}));

const { signal } = new AbortController();
const format = async (text: string): Promise<string> =>
  (await formatMount({ type: 'x', source: text, target: '', options: [] }, active, { signal })).source;

describe('format', () => {
  for (const [text, expected] of [
    ['plain', 'plain'],
    ['{{ mount 0 }}', '/mounted/a'],
    ['{{mount 2}}/x', '/mounted/c/x'],
    ['{{source 1}}:{{ target 1 }}', '/source/b:target/b'],
    ['lowerdir={{ overlay 0 2 }}', 'lowerdir=/mounted/a:/mounted/b:/mounted/c'],
    ['lowerdir={{ overlay 2 1 }}', 'lowerdir=/mounted/c:/mounted/b'],
    ['{{ overlay 1 1 }}', '/mounted/b'],
    ['a {{- mount 0 -}} b', 'a/mounted/ab'],
    ['}} closed', '}} closed'],
  ] as const)
    test(`${text} is ${expected}`, async () => assert.equal(await format(text), expected));

  for (const text of [
    '{{ mount 3 }}',
    '{{ mount -1 }}',
    '{{ mount }}',
    '{{ mount 0 1 }}',
    '{{ overlay 0 }}',
    '{{ overlay 0 3 }}',
    '{{ mount 0',
    '{{ .Env }}',
    '{{ printf "%s" 1 }}',
    '{{ mount 0x1 }}',
    '{{}}',
  ])
    test(`${text} is refused`, () =>
      assert.rejects(format(text), (error) => hasCode(error, 'InvalidArgument')));

  test('whatever comes is filled in or refused, and soon', async () => {
    const pieces = fc.constantFrom(
      '{{',
      '}}',
      '-',
      ' ',
      'mount',
      'overlay',
      '0',
      '2',
      '9',
      'x',
      '\n',
      '{',
      '}',
    );
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string(),
          fc.array(pieces).map((each) => each.join('')),
        ),
        async (text) => {
          try {
            assert.ok(typeof (await format(text)) === 'string');
          } catch (error) {
            assert.ok(hasCode(error, 'InvalidArgument'), String(error));
          }
        },
      ),
      { numRuns: 1000 },
    );
    const long = `{{${' '.repeat(limits.mountTextBytes)}`;
    await assert.rejects(format(long), (error) => hasCode(error, 'InvalidArgument'));
    await assert.rejects(format(`${long}x}}`), (error) => hasCode(error, 'InvalidArgument'));
    await assert.rejects(format('{{ overlay 0 2 }}'.repeat(20_000)), (error) =>
      hasCode(error, 'InvalidArgument'),
    );
  });
});
