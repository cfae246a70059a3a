import assert from 'node:assert/strict';
import { test } from 'node:test';
import { array, assert as check, integer, property, string } from 'fast-check';
import { digestOf } from '../base/digest.ts';
import { batchesOf } from './image-list.ts';
import { isIdOrPart, parseImageText, tryParseImageText } from './image-reference.ts';

const digest = digestOf('anything');

const names: readonly (readonly [string, string])[] = [
  ['alpine', 'docker.io/library/alpine:latest'],
  ['alpine:3', 'docker.io/library/alpine:3'],
  ['user/app', 'docker.io/user/app:latest'],
  ['localhost:5000/app', 'localhost:5000/app:latest'],
  ['quay.io/a/b:c', 'quay.io/a/b:c'],
  [`alpine@${digest}`, `docker.io/library/alpine@${digest}`],
  [`alpine:3@${digest}`, `docker.io/library/alpine@${digest}`],
];

test('names are completed, and a digest goes before a tag', () => {
  for (const [text, expected] of names) assert.equal(parseImageText(text).text, expected);
});

test('what was completed stays as it is', () => {
  for (const [, text] of names) assert.equal(parseImageText(text).text, text);
});

test('what is no name', () => {
  for (const text of ['', ':', 'a/B', digest.slice('sha256:'.length), 'https://a/b'])
    assert.equal(tryParseImageText(text)?.text, undefined, text);
});

test('every part of an id from its beginning stands for it, with and without its algorithm', () => {
  check(
    property(string(), integer({ min: 1, max: 64 }), (content, length) => {
      const id = digestOf(content);
      const part = id.slice('sha256:'.length, 'sha256:'.length + length);
      assert.ok(isIdOrPart(part, id) && isIdOrPart(`sha256:${part}`, id));
      const other = part.slice(0, -1) + (part.endsWith('0') ? '1' : '0');
      assert.ok(!isIdOrPart(other, id));
    }),
  );
  for (const text of ['', 'sha256:', 'sha256', 'SHA256:ab', 'xyz', `${digest}0`])
    assert.ok(!isIdOrPart(text, digest), text);
});

test('batches hold everything once, in order, none larger than allowed, at least one', () => {
  check(
    property(array(integer()), integer({ min: 1, max: 7 }), (items, size) => {
      const batches = [...batchesOf(items, size)];
      assert.deepEqual(batches.flat(), items);
      assert.ok(batches.every((batch) => batch.length <= size));
      assert.equal(batches.length, Math.max(1, Math.ceil(items.length / size)));
    }),
  );
});
