/** The daemon reads what the shim notes in a bundle: both by one format. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { parseContainerId, parseNamespace } from '../../src/base/identifiers.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { BundleStore } from '../../src/core/runtime/tasks/bundle.ts';
import type { SavedContainer } from '../../src/oci/shim-state.ts';
import { selectPlatform } from '../../src/platform/select.ts';
import { StateFile } from '../../src/shim/bundle/state-file.ts';

const io = { stdin: '', stdout: '', stderr: '', terminal: false };
const runc = { binary: 'runc', root: '/r/ns', systemdCgroup: false };
const none = { noPivotRoot: false, noNewKeyring: false, criuImagePath: '', criuWorkPath: '' };

const stateOf = (init: Partial<SavedContainer['init']>): SavedContainer => ({
  version: 2,
  namespace: 'ns',
  id: 'c',
  options: { runc, ...none, ioOwner: { uid: 0, gid: 0 } },
  heldIn: '/h',
  rootfs: [],
  checkpoint: '',
  cgroup: undefined,
  paused: false,
  oomKills: 0,
  init: {
    id: 'c',
    phase: 'creating',
    pid: 0,
    startTicks: undefined,
    started: false,
    io,
    lateOutputs: [],
    stdinClosed: false,
    exit: undefined,
    announced: 'nothing',
    ...init,
  },
  execs: [],
});

test('each state that the shim writes is what the daemon reads, also when the next was cut short', async (t) => {
  const { mounts } = await selectPlatform();
  const home = mkdtempSync(path.join(tmpdir(), 'gantry-shim-state-'));
  t.after(() => rmSync(home, { recursive: true }));
  const store = new BundleStore(
    { mounts, log: silentLogger },
    { root: path.join(home, 'root'), state: path.join(home, 'state') },
  );
  const bundle = store.create(parseNamespace('ns'), parseContainerId('c'), Buffer.from('{}'), {
    shimPath: '',
  });
  assert.equal(await store.shimState(bundle), undefined);
  const file = new StateFile(bundle.path);
  const steps: Partial<SavedContainer['init']>[] = [
    { phase: 'creating' },
    { phase: 'running', pid: 7, started: true },
    { phase: 'stopped', pid: 7, exit: { status: 3, exitedAt: '5' }, announced: 'exited' },
  ];
  for (const step of steps) {
    const state = stateOf(step);
    file.save(state);
    assert.deepEqual(await store.shimState(bundle), JSON.parse(JSON.stringify(state)));
  }
  const last = await store.shimState(bundle);
  appendFileSync(path.join(bundle.path, 'gantry-shim.json'), '{"version":2,"init":{"pid":8');
  assert.deepEqual(await store.shimState(bundle), last);
});
