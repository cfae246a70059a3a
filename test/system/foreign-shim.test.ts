/** Shims that were not written for us: Debian's containerd-shim-runc-v2 and the newer peer's, under our daemon. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { startGantry } from '../support/daemon.ts';
import { peerBinaries } from '../support/peers.ts';
import { startRegistry } from '../support/registry.ts';
import { exitStatus } from '../support/task-state.ts';

for (const shim of [
  '/usr/bin/containerd-shim-runc-v2',
  join(await peerBinaries(), 'containerd-shim-runc-v2'),
])
  test(`${shim} runs, execs, exits and survives a restart of the daemon`, async () => {
    await using registry = await startRegistry(['busybox']);
    await using daemon = await startGantry();
    const image = registry.reference('busybox');
    await daemon.ctr('images', 'pull', '--plain-http', image);
    const runtime = ['--runtime', shim];
    const once = await daemon.ctr.attempt([
      'run',
      '--rm',
      ...runtime,
      image,
      'once',
      'sh',
      '-c',
      'echo hello; exit 4',
    ]);
    assert.deepEqual([once.status, once.stdout], [4, 'hello\n']);
    await daemon.ctr('run', '-d', ...runtime, image, 'stays', 'sleep', '1000');
    assert.equal(await daemon.ctr('tasks', 'exec', '--exec-id', 'e', 'stays', 'echo', 'exec'), 'exec\n');
    await daemon.kill();
    await daemon.start();
    assert.match(await daemon.ctr('tasks', 'ls'), /stays\s+\d+\s+RUNNING/);
    await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', 'stays');
    await until('it is stopped', async () => (await daemon.ctr('tasks', 'ls')).includes('STOPPED'));
    assert.equal(await exitStatus(daemon, 'stays'), 137);
    await daemon.ctr.attempt(['tasks', 'rm', 'stays']);
    await daemon.ctr('containers', 'rm', 'stays');
  });
