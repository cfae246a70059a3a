import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkpointWords,
  createWords,
  deleteWords,
  execWords,
  globalWords,
  killWords,
  restoreWords,
} from './runc-arguments.ts';

const criu = {
  imagePath: '/i',
  workPath: '',
  openTcp: true,
  externalUnixSockets: false,
  terminal: false,
  fileLocks: true,
  emptyNamespaces: ['network', 'ipc'],
  cgroupsMode: 'soft',
};

void test('the words before the subcommand', () => {
  const setup = { binary: 'runc', root: '/r/ns', systemdCgroup: false };
  assert.equal(globalWords(setup, '/l').join(' '), '--root /r/ns --log /l --log-format json');
  assert.equal(globalWords({ ...setup, systemdCgroup: true }, '/l').at(-1), '--systemd-cgroup');
});

void test('each subcommand with and without what may be left out', () => {
  const create = {
    id: 'c',
    bundle: '/b',
    pidFile: '/b/init.pid',
    consoleSocket: undefined,
    noPivotRoot: false,
    noNewKeyring: false,
  };
  const rows: [string[], string][] = [
    [createWords(create), 'create --bundle /b --pid-file /b/init.pid c'],
    [
      createWords({ ...create, consoleSocket: '/s', noPivotRoot: true, noNewKeyring: true }),
      'create --bundle /b --pid-file /b/init.pid --console-socket /s --no-pivot --no-new-keyring c',
    ],
    [
      execWords({ id: 'c', processFile: '/p', pidFile: '/x', consoleSocket: '/s' }),
      'exec --process /p --detach --pid-file /x --console-socket /s c',
    ],
    [killWords('c', 9, true), 'kill --all c 9'],
    [killWords('c', 15, false), 'kill c 15'],
    [deleteWords('c', true), 'delete --force c'],
    [deleteWords('c', false), 'delete c'],
    [
      checkpointWords({ ...criu, id: 'c', parentPath: '/p', leaveRunning: true }),
      'checkpoint --image-path /i --tcp-established --file-locks --empty-ns network --empty-ns ipc ' +
        '--manage-cgroups-mode soft --parent-path /p --leave-running c',
    ],
    [
      restoreWords({
        ...criu,
        emptyNamespaces: [],
        id: 'c',
        bundle: '/b',
        pidFile: '/x',
        consoleSocket: undefined,
        noPivotRoot: false,
      }),
      'restore --detach --bundle /b --pid-file /x --image-path /i --tcp-established --file-locks ' +
        '--manage-cgroups-mode soft c',
    ],
  ];
  for (const [words, expected] of rows) assert.equal(words.join(' '), expected);
});
