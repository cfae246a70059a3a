/** Digests: what parses is two plain words, fit for a path, that make it again. */
import assert from 'node:assert/strict';
import { digestAlgorithm, digestFault, digestHex, parseDigest } from '../../../src/base/digest.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

export const digest: FuzzTarget = {
  name: 'digest',
  seeds: ['a', 'b', 'c'].map((digit, index) => {
    const algorithm = ['sha256', 'sha384', 'sha512'][index] ?? '';
    return `${algorithm}:${digit.repeat([64, 96, 128][index] ?? 0)}`;
  }),
  hostile: [
    `sha256:${'A'.repeat(64)}`,
    `sha256:${'../'.repeat(21)}a`,
    `__proto__:${'a'.repeat(64)}`,
    'md5+b64.x:=_-',
  ],
  words: ['sha256:', 'sha512:', 'md5:', 'a'.repeat(32), '+b64'],
  refusals: ['InvalidArgument'],
  check(input) {
    const text = textOf(input);
    const parsed = parseDigest(text);
    assert.equal(digestFault(text), undefined);
    assert.match(parsed, /^sha(?:256|384|512):[0-9a-f]+$/);
    assert.equal(`${digestAlgorithm(parsed)}:${digestHex(parsed)}`, text);
    assert.equal(digestHex(parsed).length * 4, Number(digestAlgorithm(parsed).slice('sha'.length)));
  },
};
