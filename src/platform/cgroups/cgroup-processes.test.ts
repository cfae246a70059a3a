import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cgroupProcesses, isFrozen } from './cgroup-processes.ts';

void test('processes of a tree of cgroups', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-cgroup-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'below'));
  writeFileSync(join(root, 'cgroup.procs'), '1\n22\n');
  writeFileSync(join(root, 'below', 'cgroup.procs'), '22\n333\n');
  assert.deepEqual(cgroupProcesses(root), [1, 22, 333]);
  assert.deepEqual(cgroupProcesses(join(root, 'absent')), []);
});

void test('frozen, in both versions', () => {
  for (const [state, frozen, expected] of [
    ['FROZEN\n', 1, true],
    ['FREEZING\n', 0, false],
    ['THAWED\n', 0, false],
    [undefined, undefined, false],
  ] as const) {
    const root = mkdtempSync(join(tmpdir(), 'gantry-cgroup-'));
    if (state !== undefined) {
      mkdirSync(join(root, 'freezer'));
      mkdirSync(join(root, 'unified'));
      writeFileSync(join(root, 'freezer/freezer.state'), state);
      writeFileSync(join(root, 'unified/cgroup.events'), `populated 1\nfrozen ${frozen}\n`);
    }
    const first = { version: 1, controllers: new Map([['freezer', join(root, 'freezer')]]) } as const;
    const second = { version: 2, path: join(root, 'unified') } as const;
    assert.deepEqual([isFrozen(first), isFrozen(second)], [expected, expected], state ?? 'absent');
    rmSync(root, { recursive: true });
  }
});
