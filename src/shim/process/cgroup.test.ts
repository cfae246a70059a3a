import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cgroupFromSaved, isFrozen, processDirectory, processesIn, savedCgroup } from './cgroup.ts';

void test('where processes are told, in both versions', () => {
  const controllers = new Map([
    ['memory', '/c/memory/a'],
    ['freezer', '/c/freezer/a'],
  ]);
  assert.equal(processDirectory({ version: 1, controllers }), '/c/memory/a');
  assert.equal(processDirectory({ version: 2, path: '/c/a' }), '/c/a');
});

void test('processes of a tree of cgroups', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-cgroup-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'below'));
  writeFileSync(join(root, 'cgroup.procs'), '1\n22\n');
  writeFileSync(join(root, 'below', 'cgroup.procs'), '22\n333\n');
  assert.deepEqual(processesIn(root), [1, 22, 333]);
  assert.deepEqual(processesIn(join(root, 'absent')), []);
});

void test('frozen, in both versions', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-cgroup-'));
  t.after(() => rmSync(root, { recursive: true }));
  const first = { version: 1, controllers: new Map([['freezer', root]]) } as const;
  const second = { version: 2, path: root } as const;
  assert.deepEqual([isFrozen(first), isFrozen(second)], [false, false]);
  for (const [state, freeze, expected] of [
    ['FROZEN\n', '1\n', true],
    ['FREEZING\n', '1\n', true],
    ['THAWED\n', '0\n', false],
  ] as const) {
    writeFileSync(join(root, 'freezer.state'), state);
    writeFileSync(join(root, 'cgroup.freeze'), freeze);
    assert.deepEqual([isFrozen(first), isFrozen(second)], [expected, expected], state);
  }
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
