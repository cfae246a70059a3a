/**
 * Filters of lists and subscriptions, by containerd's rules: strings are OR-ed, selectors inside one are AND-ed, no
 * filter or an empty one passes everything.
 *
 * `!=` passes when the field is absent, `~=` sees "" then, and a regular expression that does not compile passes
 * nothing. Expressions are RE2's, run in linear time (linear-regexp.ts): a client cannot hang the daemon with one.
 */
import type { Labels } from '../../base/labels.ts';
import { labelOf } from '../../base/labels.ts';
import { parseFilter, type Selector } from './filter-parser.ts';
import { compileLinearRegExp } from './linear-regexp.ts';

/** The value that stands at a field path; undefined when there is none. A path has at least one part. */
export type FieldLookup = (path: readonly string[]) => string | undefined;
export type Filter = (fields: FieldLookup) => boolean;

/** Errors: InvalidArgument for a syntax error. */
export function parseFilters(filters: readonly string[]): Filter {
  const any = filters.map((text) => (text === '' ? everything : all(parseFilter(text).map(compile))));
  if (any.length === 0) return everything;
  return (fields) => any.some((filter) => filter(fields));
}

/** The parts after a map field are one key: `labels.a.b` and `labels."a.b"` name the same label. */
export const mapField = (map: Labels, path: readonly string[]): string | undefined =>
  path.length < 2 ? undefined : labelOf(map, path.slice(1).join('.'));

const everything: Filter = () => true;

const all =
  (filters: readonly Filter[]): Filter =>
  (fields) =>
    filters.every((filter) => filter(fields));

function compile({ path, operator, value }: Selector): Filter {
  switch (operator) {
    case 'present':
      return (fields) => fields(path) !== undefined;
    case '==':
      return (fields) => fields(path) === value;
    case '!=':
      return (fields) => fields(path) !== value;
    case '~=': {
      const expression = compileLinearRegExp(value);
      return expression === undefined ? () => false : (fields) => expression.test(fields(path) ?? '');
    }
    default:
      return operator satisfies never;
  }
}
