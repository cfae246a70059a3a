/** Containers outlive the daemon: stopped or killed, it finds them again, and exits that happened meanwhile. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';
import { exitStatus } from '../support/task-state.ts';

const stops: Readonly<Record<string, (daemon: Daemon) => Promise<unknown>>> = {
  'kill -9': (daemon) => daemon.kill(),
  SIGTERM: (daemon) => daemon.stop(),
};

async function pidOf(daemon: Daemon, id: string): Promise<string> {
  const line = (await daemon.ctr('tasks', 'ls')).split('\n').find((row) => row.startsWith(`${id} `));
  return line?.split(/\s+/)[1] ?? '';
}

for (const [how, end] of Object.entries(stops))
  test(`after ${how} of the daemon, containers run on and exits are known`, async () => {
    await using registry = await startRegistry(['busybox']);
    await using daemon = await startGantry();
    const image = registry.reference('busybox');
    await daemon.ctr('images', 'pull', '--plain-http', image);
    await daemon.ctr('run', '-d', image, 'stays', 'sleep', '1000');
    await daemon.ctr(
      'run',
      '-d',
      image,
      'leaves',
      'sh',
      '-c',
      'while [ ! -e /go ]; do sleep 0.05; done; exit 7',
    );
    const [stays, leaves] = [await pidOf(daemon, 'stays'), await pidOf(daemon, 'leaves')];

    await end(daemon);
    assert.equal((await attempt('kill', ['-0', stays])).status, 0, 'the container went with the daemon');
    await attempt('touch', [`/proc/${leaves}/root/go`]);
    await until(
      'the second container has left',
      async () => (await attempt('kill', ['-0', leaves])).status !== 0,
    );
    await daemon.start();

    const list = await daemon.ctr('tasks', 'ls');
    assert.match(list, /stays\s+\d+\s+RUNNING/);
    assert.match(list, /leaves\s+\d+\s+STOPPED/);
    assert.equal(await pidOf(daemon, 'stays'), stays);
    assert.equal(await exitStatus(daemon, 'leaves'), 7);
    await daemon.ctr.attempt(['tasks', 'rm', 'leaves']);
    assert.equal(
      await daemon.ctr('tasks', 'exec', '--exec-id', 'e1', 'stays', 'echo', 'still here'),
      'still here\n',
    );
    await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', 'stays');
    await until('it is stopped', async () => (await daemon.ctr('tasks', 'ls')).includes('STOPPED'));
    assert.equal(await exitStatus(daemon, 'stays'), 137);
    await daemon.ctr.attempt(['tasks', 'rm', 'stays']);
  });

test('attach works after a restart of the daemon', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry();
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  await daemon.ctr(
    'run',
    '-d',
    image,
    'talks',
    'sh',
    '-c',
    'while [ ! -e /go ]; do sleep 0.05; done; echo said; sleep 0.2',
  );
  const pid = await pidOf(daemon, 'talks');
  await daemon.kill();
  await daemon.start();
  const attached = spawn(daemon.ctr.binary, ['-a', daemon.address, 'tasks', 'attach', 'talks'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let heard = '';
  attached.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    heard += chunk;
  });
  const ended = once(attached, 'exit');
  await attempt('touch', [`/proc/${pid}/root/go`]);
  await ended;
  assert.equal(heard, 'said\n');
});
