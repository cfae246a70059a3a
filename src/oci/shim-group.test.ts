import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shimGroupName } from './shim-group.ts';

const group = 'io.containerd.runc.v2.group';
const sandbox = 'io.kubernetes.cri.sandbox-id';

test('the group of a container by its annotations', () => {
  const rows: [annotations: object, name: string | undefined][] = [
    [{}, undefined],
    [{ [group]: 'g' }, 'g'],
    [{ [sandbox]: 's' }, 's'],
    // As containerd's shim, whichever comes first in the spec.
    [{ [sandbox]: 's', [group]: 'g' }, 'g'],
    [{ [group]: '', [sandbox]: 's' }, 's'],
    [{ [group]: 5, [sandbox]: 's' }, 's'],
    [{ [sandbox]: null }, undefined],
    [{ other: 'x' }, undefined],
  ];
  for (const [annotations, name] of rows)
    assert.equal(shimGroupName({ ...annotations }), name, JSON.stringify(annotations));
});
