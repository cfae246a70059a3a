import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseState, readRuncState } from './runc-state.ts';

const folder = mkdtempSync(join(tmpdir(), 'gantry-runc-state-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const config = {
  namespaces: [
    { type: 'NEWPID', path: '' },
    { type: 'NEWNET', path: '/proc/1/ns/net' },
  ],
  cgroups: { Systemd: false },
  Hooks: { poststart: null, poststop: null },
};
const state = {
  id: 'c',
  init_process_pid: 7,
  init_process_start: 8,
  rootless: false,
  cgroup_paths: {
    '': '/sys/fs/cgroup/unified/c',
    cpu: '/sys/fs/cgroup/cpu/c',
    cpuacct: '/sys/fs/cgroup/cpu/c',
  },
  namespace_paths: {},
  intel_rdt_path: '',
  config,
};

void test('what a start and a delete go by', () => {
  assert.deepEqual(parseState(state, '/r/c'), {
    directory: '/r/c',
    pid: 7,
    startTicks: 8n,
    cgroups: ['/sys/fs/cgroup/unified/c', '/sys/fs/cgroup/cpu/c'],
    systemdCgroup: false,
    ownPidNamespace: true,
    hasPoststart: false,
    hasPoststop: false,
    hasIntelRdt: false,
  });
});

void test('what is out of the ordinary is told', () => {
  const rows: [object, object][] = [
    [{ ...config, Hooks: { poststart: [{ path: '/x' }] } }, { hasPoststart: true }],
    [{ ...config, Hooks: { poststop: [{ path: '/x' }] } }, { hasPoststop: true }],
    [
      { ...config, Hooks: null },
      { hasPoststart: false, hasPoststop: false },
    ],
    [{ ...config, namespaces: [{ type: 'NEWPID', path: '/proc/1/ns/pid' }] }, { ownPidNamespace: false }],
    [{ ...config, namespaces: [] }, { ownPidNamespace: false }],
    [{ ...config, cgroups: { Systemd: true } }, { systemdCgroup: true }],
    [{ ...config, intelRdt: { closID: 'x' } }, { hasIntelRdt: true }],
  ];
  for (const [changed, expected] of rows) {
    const parsed = parseState({ ...state, config: changed }, '/r/c');
    assert.deepEqual({ ...parsed, ...expected }, parsed, JSON.stringify(expected));
  }
});

void test('a shape that is not known is nothing', () => {
  const rows: object[] = [
    { config: undefined },
    { config: { ...config, namespaces: null } },
    { config: { ...config, cgroups: {} } },
    { config: { ...config, Hooks: { poststop: 'x' } } },
    { rootless: true },
    { init_process_pid: '7' },
    { init_process_pid: 0 },
    { init_process_start: undefined },
    { cgroup_paths: undefined },
    { cgroup_paths: { cpu: '/etc' } },
    { cgroup_paths: { cpu: '/sys/fs/cgroup/cpu/../../../../etc' } },
    { cgroup_paths: { cpu: 3 } },
    { namespace_paths: null },
    { intel_rdt_path: undefined },
  ];
  for (const changed of rows)
    assert.equal(parseState({ ...state, ...changed }, '/r/c'), undefined, JSON.stringify(changed));
});

void test('only of runc itself: by its name, a program and no script', () => {
  const root = join(folder, 'root');
  mkdirSync(join(root, 'c'), { recursive: true });
  mkdirSync(join(root, 'd'));
  for (const id of ['c', 'd']) writeFileSync(join(root, id, 'state.json'), JSON.stringify(state));
  const place = (name: string): string => {
    mkdirSync(join(folder, name));
    return join(folder, name, 'runc');
  };
  const itself = place('itself');
  copyFileSync(process.execPath, itself);
  const script = place('script');
  writeFileSync(script, '#!/bin/sh\nexec runc "$@"\n');
  chmodSync(script, 0o755);
  const other = join(folder, 'other-runc');
  copyFileSync(process.execPath, other);
  const renamed = place('renamed');
  symlinkSync(other, renamed);
  const read = (binary: string, id = 'c') => readRuncState({ binary, root, systemdCgroup: false }, id);
  assert.equal(read(itself)?.pid, 7);
  assert.equal(read(itself, 'd'), undefined, 'of another container');
  assert.equal(read(itself, 'e'), undefined, 'not there');
  for (const binary of [script, other, renamed, join(folder, 'absent/runc')])
    assert.equal(read(binary), undefined, binary);
});
