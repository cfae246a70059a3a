import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cgroupFromSaved, processDirectory, savedCgroup } from './cgroup.ts';

void test('where processes are told, in both versions', () => {
  const controllers = new Map([
    ['memory', '/c/memory/a'],
    ['freezer', '/c/freezer/a'],
  ]);
  assert.equal(processDirectory({ version: 1, controllers }), '/c/memory/a');
  assert.equal(processDirectory({ version: 2, path: '/c/a' }), '/c/a');
});

void test('a cgroup is saved as JSON and read again', () => {
  for (const cgroup of [
    { version: 1, controllers: new Map([['pids', '/c/pids/a']]) },
    { version: 2, path: '/c/a' },
    undefined,
  ] as const) {
    const text = JSON.stringify({ cgroup: savedCgroup(cgroup) });
    const saved = (JSON.parse(text) as { cgroup?: ReturnType<typeof savedCgroup> }).cgroup;
    assert.deepEqual(cgroupFromSaved(saved), cgroup);
  }
});
