import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { oomFile, oomKills, processDirectory, processesIn } from './cgroup.ts';

void test('where processes and kills are told, in both versions', () => {
  const controllers = new Map([
    ['memory', '/c/memory/a'],
    ['freezer', '/c/freezer/a'],
  ]);
  assert.equal(processDirectory({ version: 1, controllers }), '/c/memory/a');
  assert.equal(oomFile({ version: 1, controllers }), '/c/memory/a/memory.oom_control');
  assert.equal(oomFile({ version: 1, controllers: new Map() }), undefined);
  assert.equal(processDirectory({ version: 2, path: '/c/a' }), '/c/a');
  assert.equal(oomFile({ version: 2, path: '/c/a' }), '/c/a/memory.events');
});

void test('processes of a tree of cgroups, and kills by the kernel', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-cgroup-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'below'));
  writeFileSync(join(root, 'cgroup.procs'), '1\n22\n');
  writeFileSync(join(root, 'below', 'cgroup.procs'), '22\n333\n');
  assert.deepEqual(processesIn(root), [1, 22, 333]);
  assert.deepEqual(processesIn(join(root, 'absent')), []);
  writeFileSync(join(root, 'memory.events'), 'low 0\noom 4\noom_kill 3\n');
  assert.equal(oomKills(join(root, 'memory.events')), 3);
  assert.equal(oomKills(join(root, 'absent')), 0);
});
