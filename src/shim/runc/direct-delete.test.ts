import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { deleteDirectly } from './direct-delete.ts';
import type { RuncState } from './runc-state.ts';

/** Directories without files stand for cgroups: rmdir(2) takes them in the same order. */
function makeState(changed: Partial<RuncState> = {}): RuncState & Disposable {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-direct-delete-'));
  const cgroups = ['memory/c', 'pids/c'].map((name) => join(folder, name));
  mkdirSync(join(folder, 'memory/c/below/deeper'), { recursive: true });
  mkdirSync(join(folder, 'pids/c'), { recursive: true });
  const directory = join(folder, 'runc/c');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'state.json'), '{}');
  return {
    directory,
    pid: 7,
    startTicks: 8n,
    cgroups,
    systemdCgroup: false,
    ownPidNamespace: true,
    hasPoststart: false,
    hasPoststop: false,
    hasIntelRdt: false,
    ...changed,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}

void test('cgroups go with what is below them, then the state', () => {
  using state = makeState();
  assert.equal(deleteDirectly(state), true);
  for (const path of [...state.cgroups, state.directory]) assert.ok(!existsSync(path), path);
});

void test('a cgroup that has gone already is not missed', () => {
  using state = makeState();
  rmSync(state.cgroups[1] as string, { recursive: true });
  assert.equal(deleteDirectly(state), true);
});

void test('the state stays for runc when a cgroup cannot be removed', () => {
  using state = makeState();
  writeFileSync(join(state.cgroups[0] as string, 'in-use'), '');
  assert.equal(deleteDirectly(state), false);
  assert.ok(existsSync(join(state.directory, 'state.json')));
});

void test('nothing is touched where there is more to do', () => {
  const rows: Partial<RuncState>[] = [
    { ownPidNamespace: false },
    { hasPoststop: true },
    { hasIntelRdt: true },
    { systemdCgroup: true },
  ];
  for (const changed of rows) {
    using state = makeState(changed);
    assert.equal(deleteDirectly(state), false, JSON.stringify(changed));
    assert.ok(existsSync(state.cgroups[1] as string));
  }
});
