import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { forgetContainer, loadContainer, type SavedContainer, saveContainer } from './state-file.ts';

const bundle = mkdtempSync(join(tmpdir(), 'gantry-state-file-'));
after(() => rmSync(bundle, { recursive: true, force: true }));

const state: SavedContainer = {
  version: 2,
  namespace: 'ns',
  id: 'c',
  options: {
    runc: { binary: 'runc', root: '/r/ns', systemdCgroup: false },
    noPivotRoot: false,
    noNewKeyring: false,
    ioOwner: { uid: 0, gid: 0 },
    criuImagePath: '',
    criuWorkPath: '',
  },
  heldIn: '/h',
  rootfs: [],
  checkpoint: '',
  cgroup: { version: 1, controllers: { pids: '/sys/fs/cgroup/pids/c' } },
  paused: false,
  oomKills: 0,
  init: {
    id: 'c',
    phase: 'running',
    pid: 7,
    startTicks: '123',
    started: true,
    io: { stdin: '', stdout: '/o', stderr: '', terminal: false },
    lateOutputs: [1],
    stdinClosed: false,
    exit: undefined,
    announced: 'started',
  },
  execs: [],
};

test('what was saved is loaded, and nothing else lies about', () => {
  saveContainer(bundle, state);
  assert.deepEqual(loadContainer(bundle), JSON.parse(JSON.stringify(state)));
  assert.deepEqual(readdirSync(bundle), ['gantry-shim.json']);
  forgetContainer(bundle);
  forgetContainer(bundle);
  assert.equal(loadContainer(bundle), undefined);
});

for (const text of ['', '{', 'null', '[]', '{"version":1}', '{"version":2,"init":{"pid":1}}'])
  test(`no state: ${JSON.stringify(text)}`, () => {
    writeFileSync(join(bundle, 'gantry-shim.json'), text);
    assert.equal(loadContainer(bundle), undefined);
  });
