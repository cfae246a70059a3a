/** WWW-Authenticate as registries write it, and as nobody should. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { parseChallenges } from './challenge.ts';

const plain = (value: string): [string, Record<string, string>][] =>
  parseChallenges([value]).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

void describe('parseChallenges', () => {
  const table: [header: string, challenges: [string, Record<string, string>][]][] = [
    ['Basic realm="x"', [['basic', { realm: 'x' }]]],
    [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
      [
        [
          'bearer',
          {
            realm: 'https://auth.docker.io/token',
            service: 'registry.docker.io',
            scope: 'repository:a/b:pull,push',
          },
        ],
      ],
    ],
    ['Bearer realm=https://a/t , error="x \\"y\\""', [['bearer', { realm: 'https://a/t', error: 'x "y"' }]]],
    [
      'Negotiate, Basic realm="a", Bearer realm="b"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'a' }],
        ['bearer', { realm: 'b' }],
      ],
    ],
    [
      'Negotiate YWJj==, Basic realm="a"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'a' }],
      ],
    ],
    ['BEARER Realm="b"', [['bearer', { realm: 'b' }]]],
    ['', []],
    ['"', []],
    [
      'Bearer realm="unclosed',
      [
        ['bearer', {}],
        ['realm', {}],
      ],
    ],
  ];
  for (const [header, challenges] of table)
    void it(JSON.stringify(header), () => assert.deepEqual(plain(header), challenges));

  void it('reads any text to an end', () => {
    const pieces = fc.constantFrom(
      'Bearer',
      'Basic',
      ' ',
      ',',
      '=',
      '"',
      '\\',
      'realm',
      'x',
      '\t',
      '==',
      '\u0000',
      'é',
    );
    fc.assert(
      fc.property(
        fc.array(pieces, { maxLength: 60 }).map((parts) => parts.join('')),
        (text) => {
          for (const { scheme } of parseChallenges([text])) assert.match(scheme, /^[!-~]+$/);
        },
      ),
    );
  });
  void it('finds what was written', () => {
    const word = fc.stringMatching(/^[a-z]{1,8}$/);
    const value = fc.string({ unit: 'grapheme-ascii', maxLength: 12 });
    fc.assert(
      fc.property(word, fc.dictionary(word, value, { minKeys: 1, maxKeys: 4 }), (scheme, parameters) => {
        const quoted = Object.entries(parameters).map(
          ([name, text]) => `${name}="${text.replace(/["\\]/g, '\\$&')}"`,
        );
        const read = plain(`${scheme} ${quoted.join(', ')}`);
        assert.deepEqual(read[0]?.[1], { ...parameters });
      }),
    );
  });
});
