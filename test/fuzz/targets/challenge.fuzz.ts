/** WWW-Authenticate, a header value a line: never an error, and what was understood is understood again in quotes. */
import assert from 'node:assert/strict';
import { limits } from '../../../src/base/limits.ts';
import { type Challenge, parseChallenges } from '../../../src/core/registry/challenge.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

const print = ({ scheme, parameters }: Challenge): string =>
  `${scheme} ${[...parameters].map(([name, value]) => `${name}="${value.replace(/["\\]/g, '\\$&')}"`).join(', ')}`;

export const challenge: FuzzTarget = {
  name: 'challenge',
  seeds: [
    'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"',
    'Basic realm="a \\"quoted\\" realm", Bearer realm=x',
    'Negotiate abc123==, Basic realm=""',
    'Basic',
  ],
  hostile: [
    `Bearer realm="${'\\'.repeat(16_000)}`,
    'a ='.repeat(5000),
    `Basic ${' '.repeat(16_000)}x`,
    `Basic ${'a'.repeat(16_000)}!`,
    'Bearer __proto__="x", constructor=y',
  ],
  words: ['Bearer ', 'Basic ', 'realm=', 'scope=', '"', '\\"', ', ', '==', '\n'],
  maxBytes: limits.challengeBytes + 100,
  refusals: [],
  check(input) {
    const challenges = parseChallenges(textOf(input).split('\n'));
    for (const { scheme, parameters } of challenges) {
      assert.equal(scheme, scheme.toLowerCase());
      assert.ok([...parameters.keys()].every((name) => name !== '' && name === name.toLowerCase()));
    }
    const printed = challenges.map(print).filter((text) => text.length <= limits.challengeBytes);
    if (printed.length === challenges.length) assert.deepEqual(parseChallenges(printed), challenges);
  },
};
