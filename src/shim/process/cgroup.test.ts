import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { MountInfo } from '../../platform/platform.ts';
import { findCgroup, oomKills, processesIn } from './cgroup.ts';

const mount = (fileSystemType: string, mountPoint: string, ...superOptions: string[]): MountInfo => ({
  id: 1,
  parentId: 0,
  root: '/',
  mountPoint,
  options: ['rw'],
  fileSystemType,
  source: fileSystemType,
  superOptions,
});

const hybrid = [
  mount('cgroup', '/c/memory', 'rw', 'memory'),
  mount('cgroup', '/c/pids', 'rw', 'pids'),
  mount('cgroup', '/c/systemd', 'rw', 'name=systemd'),
  mount('cgroup2', '/c/unified', 'rw'),
];

void test('version 1, version 2 and a process in no cgroup', () => {
  const rows: [string, readonly MountInfo[], ReturnType<typeof findCgroup>][] = [
    [
      '9:pids:/ns/a\n5:memory:/ns/a\n1:name=systemd:/ns/a\n0::/\n',
      hybrid,
      { processes: '/c/pids/ns/a', oomFile: '/c/memory/ns/a/memory.oom_control' },
    ],
    ['9:pids:/ns/a\n', hybrid, { processes: '/c/pids/ns/a', oomFile: undefined }],
    ['0::/ns/a\n', [mount('cgroup2', '/c')], { processes: '/c/ns/a', oomFile: '/c/ns/a/memory.events' }],
    ['9:pids:/\n0::/\n', hybrid, undefined],
    ['', hybrid, undefined],
  ];
  for (const [text, mounts, expected] of rows) assert.deepEqual(findCgroup(text, mounts), expected, text);
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
