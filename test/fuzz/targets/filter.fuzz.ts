/** Filters of lists, with their regular expressions: printed in quotes they select the same; none takes long. */
import assert from 'node:assert/strict';
import { limits } from '../../../src/base/limits.ts';
import { type FieldLookup, mapField, parseFilters } from '../../../src/core/filters/filter.ts';
import { parseFilter, type Selector } from '../../../src/core/filters/filter-parser.ts';
import { type FuzzTarget, mustTake, textOf } from '../fuzz-target.ts';

const quoted = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;
const print = ({ path, operator, value }: Selector): string =>
  `${path.map(quoted).join('.')}${operator === 'present' ? '' : `${operator}${quoted(value)}`}`;

const records: readonly Readonly<Record<string, string>>[] = [
  {},
  { name: 'alpine' },
  { name: `${'a'.repeat(2000)}!`, 'a.b/c': 'x\ny' },
];
const lookup =
  (record: Readonly<Record<string, string>>): FieldLookup =>
  (path) =>
    path[0] === 'labels' ? mapField(record, path) : mapField(record, ['', ...path]);

export const filter: FuzzTarget = {
  name: 'filter',
  seeds: [
    'name==alpine',
    ' name != "a\\x62\\u00e9\\101",labels."a.b/c"~=/^x[|]y$/',
    'labels.a.b',
    'name~="(?i)^(?:al|bo)p{1,3}[[:alpha:]\\\\d]*$",name',
    'name~="(?P<x>a+)+\\\\p{Greek}?\\\\Qa.b\\\\E"',
  ],
  hostile: [
    `name~=${'{'.repeat(60_000)}`,
    `name~=${'a{'.repeat(30_000)}}`,
    `name~=${'(?P<'.repeat(190)}`,
    `name~=${'[[:'.repeat(20_000)}`,
    'name~=^((a{0,30}){0,30}a){1,1}$',
    'name~=(?i)[^a-\\\\x{10ffff}]+$',
    'name~="\\\\p{__proto__}"',
  ],
  words: [
    'name',
    'labels',
    '==',
    '~=',
    '!=',
    '\\\\',
    '\\Q',
    '(?i)',
    '{2,3}',
    '[^',
    '[:alpha:]',
    '\\\\pL',
    '*',
    '+',
    '?',
    '|',
  ],
  maxBytes: limits.filterBytes,
  refusals: ['InvalidArgument'],
  check(input) {
    const text = textOf(input);
    const passes = parseFilters([text]);
    const expected = records.map((record) => passes(lookup(record)));
    if (text === '') return;
    const printed = parseFilter(text).map(print).join(',');
    // Quotes make it longer.
    if (Buffer.byteLength(printed) > limits.filterBytes) return;
    const again = mustTake('a filter in quotes', () => parseFilters([printed]));
    assert.deepEqual(
      records.map((record) => again(lookup(record))),
      expected,
    );
  },
};
