import assert from 'node:assert/strict';
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { SavedContainer } from '../../oci/shim-state.ts';
import { forgetContainer, loadContainer, StateFile } from './state-file.ts';

const bundle = mkdtempSync(join(tmpdir(), 'gantry-state-file-'));
const path = join(bundle, 'gantry-shim.json');
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
  new StateFile(bundle).save(state);
  assert.deepEqual(loadContainer(bundle), JSON.parse(JSON.stringify(state)));
  assert.deepEqual(readdirSync(bundle), ['gantry-shim.json']);
  forgetContainer(bundle);
  forgetContainer(bundle);
  assert.equal(loadContainer(bundle), undefined);
});

for (const text of ['', '{', 'null', '[]', '{"version":1}', '{"version":2,"init":{"pid":1}}'])
  test(`no state: ${JSON.stringify(text)}`, () => {
    writeFileSync(path, `${text}\n`);
    assert.equal(loadContainer(bundle), undefined);
  });

test('the last whole line counts, and who comes next does not go on behind half a line', () => {
  forgetContainer(bundle);
  const file = new StateFile(bundle);
  file.save(state);
  file.save({ ...state, paused: true });
  const whole = readFileSync(path, 'utf8');
  appendFileSync(path, JSON.stringify({ ...state, oomKills: 3 }).slice(0, -1));
  assert.deepEqual([loadContainer(bundle)?.paused, loadContainer(bundle)?.oomKills], [true, 0]);
  new StateFile(bundle).save({ ...state, oomKills: 5 });
  assert.equal(loadContainer(bundle)?.oomKills, 5);
  for (let length = whole.indexOf('\n') + 1; length < whole.length; length += 1) {
    writeFileSync(path, whole.slice(0, length));
    assert.equal(loadContainer(bundle)?.paused, false);
  }
});

test('the file stays small, however much is written', () => {
  const file = new StateFile(bundle);
  for (let kills = 0; kills < 1000; kills += 1) {
    file.save({ ...state, oomKills: kills });
    assert.ok(statSync(path).size <= 64 * 1024);
  }
  assert.equal(loadContainer(bundle)?.oomKills, 999);
});
