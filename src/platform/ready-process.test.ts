import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { childEnvironment } from './child-environment.ts';
import { spawnUntilReady } from './ready-process.ts';
import { selectPlatform } from './select.ts';

async function start(t: TestContext, script: string, signal = AbortSignal.timeout(20_000)) {
  const platform = await selectPlatform();
  let spawned = 0;
  t.after(() => spawned !== 0 && platform.processes.isAlive(spawned) && platform.processes.kill(spawned, 9));
  const readPipe = (fd: number) => createReadStream('', { fd });
  const pid = spawnUntilReady(
    { platform, readPipe },
    {
      file: '/bin/sh',
      args: ['-c', script],
      env: childEnvironment(),
      log: 'null',
      cgroup: '',
      oomScoreAdjust: 1,
      onSpawned: (one) => {
        spawned = one;
      },
    },
    { signal },
  );
  await pid.catch(() => {});
  return { pid, spawned, processes: platform.processes };
}

test('one that says so is ready, and goes on', async (t) => {
  const { pid, spawned, processes } = await start(t, 'echo ready >&3; exec 3>&-; exec sleep 1000');
  assert.equal(await pid, spawned);
  assert.ok(processes.isAlive(spawned));
});

test('what it says is what went wrong, and it is ended', async (t) => {
  const { pid, spawned, processes } = await start(t, 'echo no room >&3; exec 3>&-; exec sleep 1000');
  await assert.rejects(pid, { code: 'Unavailable', message: /no room/ });
  assert.equal((await processes.exited(spawned)).status, 128 + 9);
});

test('one that ended said nothing, and is not ready', async (t) => {
  const { pid } = await start(t, 'kill -9 $$');
  await assert.rejects(pid, { code: 'Unavailable', message: /ended as soon as/ });
});

test('one that is not ready in time is ended, and its pipe is not waited for', async (t) => {
  const { pid, spawned, processes } = await start(t, 'exec sleep 1000', AbortSignal.timeout(100));
  await assert.rejects(pid, { code: 'DeadlineExceeded' });
  assert.equal((await processes.exited(spawned)).status, 128 + 9);
});
