import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { type FieldLookup, mapField, parseFilters } from './filter.ts';
import { compileLinearRegExp } from './linear-regexp.ts';

interface Lease {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
}

const leases: readonly Lease[] = [
  { id: 'l12', labels: { 'a.b/c': 'x1' } },
  { id: 'other', labels: { e: '/d', q: 'a|b' } },
];

const lookup =
  (lease: Lease): FieldLookup =>
  (path) => {
    if (path[0] === 'id') return lease.id;
    return path[0] === 'labels' ? mapField(lease.labels, path) : undefined;
  };

const select = (...filters: string[]): string[] => {
  const passes = parseFilters(filters);
  return leases.filter((lease) => passes(lookup(lease))).map(({ id }) => id);
};

describe('filters', () => {
  // What containerd 2.1 answers to `ctr leases ls` for each, recorded.
  const answers: readonly (readonly [string, readonly string[]])[] = [
    ['', ['l12', 'other']],
    ['id', ['l12', 'other']],
    [' id == l12', ['l12']],
    ['id=="l12"', ['l12']],
    ["id=='l12'", []],
    ['"id"==l12', ['l12']],
    ['id!=l12', ['other']],
    ['id==l12=', []],
    ['id==é', []],
    ['id==l\\u0031', []],
    ['foo', []],
    ['foo!=1', ['l12', 'other']],
    ['labels', []],
    ['labels.a', []],
    ['labels."a.b/c"==x1', ['l12']],
    ['labels. e', ['other']],
    ['labels.e=="/d"', ['other']],
    ['labels.e~=/^\\/d$/,id', ['other']],
    ['labels.q~=/a[|]b/', ['other']],
    ['labels.q~=|a\\|b|', ['other']],
    ['labels.q~=|^a.b$|', ['other']],
    ['id~="\\\\d+"', ['l12']],
    ['id~=\\d+', ['l12']],
    ['id~=l.', ['l12']],
    ['id~=""', ['l12', 'other']],
    ['id~=[', []],
    ['id~=(', []],
    ['id==l12,labels.e', []],
    ['id==other,labels.e', ['other']],
  ];
  for (const [filter, expected] of answers)
    test(`${JSON.stringify(filter)} selects ${expected.join(' and ') || 'nothing'}`, () => {
      assert.deepEqual(select(filter), expected);
    });

  const refusals: readonly (readonly [string, string])[] = [
    ['id==', '[id==]: expected value or quoted'],
    ['id== ', '[id== ]: expected value or quoted'],
    ['id==.x', '[id== >|.|< x]: expected value or quoted'],
    ['id===x', '[id >|=|< ==x]: unsupported operator "==="'],
    ['id~=~x', '[id >|~|< =~x]: unsupported operator "~=~"'],
    ['id==l12 , labels.e', '[id==l12 >| |< , labels.e]: unexpected input:  '],
    ['id,', '[id,]: expected field or quoted'],
    [',id', '[ >|,|< id]: expected field or quoted'],
    ['id.', '[id.]: expected field or quoted'],
    ['id..x', '[id. >|.|< x]: expected field or quoted'],
    ['*', '[ >|*|< ]: expected field or quoted'],
    [' ', '[ ]: expected field or quoted'],
    ['labels .e=="/d"', '[labels  >|.|< e=="/d"]: expected an operator ("=="|"!="|"~=")'],
    ['labels.e==/d', '[labels.e== >|/|< d]: quoted literal not terminated'],
    ['id~="\\d+"', '[id~= >|"|< \\d+"]: illegal escape sequence'],
    ['id~=/\\d+/', '[id~= >|/|< \\d+/]: illegal escape sequence'],
  ];
  for (const [filter, message] of refusals)
    test(`${JSON.stringify(filter)} is refused, saying where`, () => {
      assert.throws(
        () => select(filter),
        new ContainerdError('InvalidArgument', `filters: parse error: ${message}`),
      );
    });

  test('several are OR-ed', () => {
    assert.deepEqual(select('id==l12', 'id==other'), ['l12', 'other']);
    assert.deepEqual(select(), ['l12', 'other']);
  });

  test('labels are not looked up along a prototype', () => {
    assert.deepEqual(select('labels.constructor'), []);
    assert.deepEqual(select('labels.__proto__'), []);
  });

  test('a filter over the limit is refused', () => {
    assert.throws(
      () => select(`id==${'x'.repeat(limits.filterBytes)}`),
      (error) => hasCode(error, 'InvalidArgument'),
    );
  });

  test('any key and value can be asked for in quotes', () => {
    const quoted = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`;
    fc.assert(
      fc.property(
        fc.string({ minLength: 1, unit: 'grapheme' }),
        fc.string({ unit: 'grapheme' }),
        (key, value) => {
          const passes = parseFilters([`labels.${quoted(key)}==${quoted(value)}`]);
          assert.ok(passes((path) => (path[1] === key ? value : undefined)));
          assert.ok(!passes((path) => (path[1] === key ? `${value}x` : undefined)));
        },
      ),
    );
  });

  test('whatever comes is parsed or refused as InvalidArgument', () => {
    const pieces = fc.constantFrom(
      'id',
      '.',
      ',',
      '==',
      '~=',
      '!=',
      '"',
      '/',
      '|',
      '\\',
      ' ',
      'é',
      '[',
      '(',
      '*',
      '\u0000',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(pieces).map((all) => all.join('')),
          fc.string(),
        ),
        (filter) => {
          try {
            parseFilters([filter])(() => 'value');
          } catch (error) {
            assert.ok(hasCode(error, 'InvalidArgument'), String(error));
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('linear regular expressions', () => {
  test('hostile ones take time linear in the text', () => {
    const text = `${'a'.repeat(4096)}!`;
    // A backtracking matcher would need longer than the age of the universe, and the runner's time-out would end it.
    for (const pattern of ['^(a+)+$', '^(a|a)*$', '(a*)*b', '^((a{0,30}){0,30}a){1,1}$', '(.*)(.*)(.*)(.*)x'])
      assert.equal(compileLinearRegExp(pattern)?.test(text) ?? false, false);
  });

  test('braces that are no counts are themselves, however many', () => {
    assert.equal(compileLinearRegExp('^a{x{1,$')?.test('a{x{1,'), true);
    assert.equal(compileLinearRegExp('^a{2}}{1{3}$')?.test('aa}{111'), true);
    // To look for the end of each anew took seconds for this one.
    assert.equal(compileLinearRegExp('{'.repeat(limits.filterBytes)), undefined);
    assert.equal(compileLinearRegExp(`${'{'.repeat(1000)}}`)?.test(`${'{'.repeat(1000)}}`), true);
  });
  test('what RE2 refuses does not compile', () => {
    for (const pattern of [
      '(?=a)',
      '(?!a)',
      '(?<=a)',
      '(a)\\1',
      'a**',
      '*a',
      'a{2,1}',
      'a{1001}',
      '[b-a]',
      '[a',
      '(',
      ')',
      '\\',
      '\\pX1',
      '(?P<>a)',
      '\\k<a>',
      '((((){1000}){1000}){1000}){1000}',
      '(a{1000}){1000}',
    ])
      assert.equal(compileLinearRegExp(pattern), undefined, pattern);
  });

  test('flags, classes and anchors', () => {
    const cases: readonly (readonly [string, string, boolean])[] = [
      ['(?i)ABC', 'xabcx', true],
      ['(?i:a)B', 'AB', true],
      ['(?i:a)B', 'Ab', false],
      ['^b$', 'a\nb\nc', false],
      ['(?m)^b$', 'a\nb\nc', true],
      ['a.c', 'a\nc', false],
      ['(?s)a.c', 'a\nc', true],
      ['[[:alpha:]]+[^[:digit:]]', 'ab1', true],
      ['^[\\w.-]+$', 'a.b-c_1', true],
      ['[]a]', ']', true],
      ['\\bfoo\\b', 'a foo b', true],
      ['\\Bfoo', 'afoo', true],
      ['\\Bfoo', 'a foo', false],
      ['\\Qa.b\\E+', 'a.bb', true],
      ['\\Qa.b\\E+', 'axb', false],
      ['\\p{Greek}\\PL', 'λ1', true],
      ['\\x{1F600}', '😀', true],
      ['^.$', '😀', true],
      ['(?P<name>a|b){2,3}$', 'xab', true],
      ['a{,2}', 'a{,2}', true],
      ['\\A\\z', '', true],
    ];
    for (const [pattern, text, expected] of cases)
      assert.equal(
        compileLinearRegExp(pattern)?.test(text),
        expected,
        `${pattern} on ${JSON.stringify(text)}`,
      );
  });

  test('agrees with JavaScript where the two languages agree', () => {
    const atom = fc.constantFrom('a', 'b', 'c', '.', '[ab]', '[^a]', '\\d', '\\w', '^', '$', '\\b', '1');
    const { expression } = fc.letrec<{ expression: string; part: string }>((tie) => ({
      part: fc.oneof(
        { maxDepth: 4 },
        atom,
        fc
          .tuple(tie('expression'), fc.constantFrom('', '*', '+', '?', '{1,2}'))
          .map(([inner, times]) => `(?:${inner})${times}`),
      ),
      expression: fc.oneof(
        { maxDepth: 4 },
        tie('part'),
        fc.tuple(tie('part'), tie('expression')).map(([left, right]) => left + right),
        fc.tuple(tie('part'), tie('expression')).map(([left, right]) => `${left}|${right}`),
      ),
    }));
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '1', ' ', '-'), maxLength: 8 });
    fc.assert(
      fc.property(expression, text, (pattern, input) => {
        assert.equal(compileLinearRegExp(pattern)?.test(input), new RegExp(pattern).test(input));
      }),
      { numRuns: 2000 },
    );
  });
});
