/** Field masks, a path a line: only what they name changes, whatever the names. */
import assert from 'node:assert/strict';
import { maskLabels } from '../../../src/base/field-mask.ts';
import { labelOf } from '../../../src/base/labels.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

const current = { kept: '1', changed: '2', 'a.b/c': '3' };
const given = { changed: 'new', added: 'x', 'a.b/c': '', 'a.b': 'y' };

export const fieldMask: FuzzTarget = {
  name: 'field-mask',
  seeds: ['labels', 'labels.changed', 'labels.a.b/c\nlabels.added', 'labels.a.b\nlabels.nothing', ''],
  hostile: [
    'labels.__proto__',
    '__proto__',
    'constructor.x',
    'labels.',
    '.labels',
    'labels.constructor\nlabels',
  ],
  words: ['labels', 'labels.', 'changed', 'added', '\n'],
  refusals: ['InvalidArgument'],
  check(input) {
    const paths = input.length === 0 ? [] : textOf(input).split('\n');
    const masked = maskLabels('image "x"', current, given, paths);
    assert.equal(Object.getPrototypeOf(masked), Object.prototype);
    const whole = paths.length === 0 || paths.includes('labels');
    const named = (key: string): boolean => whole || paths.includes(`labels.${key}`);
    const keys = new Set([...Object.keys(current), ...Object.keys(given), ...Object.keys(masked)]);
    for (const key of keys) {
      const expected = labelOf(named(key) ? given : current, key);
      assert.equal(labelOf(masked, key) ?? '', expected ?? '', key);
    }
  },
};
