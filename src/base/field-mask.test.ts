import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from './errors.ts';
import { maskLabels } from './field-mask.ts';

test('masked labels: one by one, whole, emptied, and nothing else', () => {
  const current = { a: '1', 'b.c/d': '2' };
  const given = { a: '9', 'b.c/d': '', z: '3' };
  assert.deepEqual(maskLabels('x', current, given, ['labels.a']), { a: '9', 'b.c/d': '2' });
  assert.deepEqual(maskLabels('x', current, given, ['labels.b.c/d']), { a: '1' });
  assert.deepEqual(maskLabels('x', current, given, ['labels.absent', 'labels.z']), { ...current, z: '3' });
  assert.deepEqual(maskLabels('x', current, given, ['labels']), { a: '9', z: '3' });
  assert.deepEqual(maskLabels('x', current, given, []), { a: '9', z: '3' });
  for (const path of ['label', 'labels2.a', '', '.a', 'constructor', '__proto__.a'])
    assert.throws(
      () => maskLabels('image "x"', current, given, [path]),
      (error) => hasCode(error, 'InvalidArgument'),
    );
});

test('keys of every object are keys like others', () => {
  const given = Object.fromEntries([['__proto__', '1']]);
  const masked = maskLabels('x', {}, given, ['labels.__proto__', 'labels.toString']);
  assert.deepEqual(Object.entries(masked), [['__proto__', '1']]);
});
