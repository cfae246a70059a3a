/** Shims of others that fail: nothing is left of them, and an end is told once, whoever tells it. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { EventRecorder } from '../support/event-recorder.ts';
import { peerBinaries } from '../support/peers.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt, run } from '../support/run.ts';

describe('shims of others that fail', { concurrency: 1 }, () => {
  let registry: Registry;
  let daemon: Daemon;
  let image: string;
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'gantry-foreign-'));
    registry = await startRegistry(['busybox']);
    daemon = await startGantry();
    image = registry.reference('busybox');
    await daemon.ctr('images', 'pull', '--plain-http', image);
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const bundles = async (): Promise<string[]> =>
    readdir(join(daemon.state, 'io.containerd.runtime.v2.task/default')).catch(() => []);

  const answers: Readonly<Record<string, string>> = {
    'an address where nobody listens': 'unix:///absent/socket',
    'no address at all': 'hello',
    'a task API of the future': '{"version":9,"address":"unix:///absent/socket","protocol":"ttrpc"}',
  };

  for (const [what, answer] of Object.entries(answers))
    test(`a start that leaves a process behind and answers ${what}`, async () => {
      const shim = join(directory, 'containerd-shim-broken-v1');
      const script = `#!/bin/sh
for word; do action=$word; done
[ "$action" = start ] || exit 0
setsid sh -c 'echo $$ >"$0"; exec sleep 1000' '${directory}/pid' >/dev/null 2>&1 </dev/null &
while [ ! -s '${directory}/pid' ]; do :; done
printf '%s' '${answer}'
`;
      await writeFile(shim, script);
      await chmod(shim, 0o755);
      await rm(join(directory, 'pid'), { force: true });
      const { status, stderr } = await daemon.ctr.attempt([
        'run',
        '-d',
        '--runtime',
        shim,
        image,
        'broken',
        'true',
      ]);
      assert.equal(status, 1);
      assert.match(stderr, /failed to start shim/);
      const left = (await run('cat', [join(directory, 'pid')])).trim();
      await until('the process has gone', async () => (await attempt('kill', ['-0', left])).status !== 0);
      assert.deepEqual(await bundles(), []);
      await daemon.ctr.attempt(['containers', 'rm', 'broken']);
    });

  test('a shim that is killed: its container is cleaned up, and the end told once', async () => {
    await using events = await EventRecorder.start(daemon);
    const shim = join(await peerBinaries(), 'containerd-shim-runc-v2');
    await daemon.ctr('run', '-d', '--runtime', shim, image, 'killed', 'sleep', '1000');
    const pid = Number((await run('pgrep', ['-f', `${shim} .*-id killed `])).trim());
    process.kill(pid, 'SIGKILL');
    await until('the end is told', () => events.statuses('killed').length > 0);
    await until('the bundle has gone', async () => (await bundles()).length === 0);
    assert.deepEqual(events.statuses('killed'), [137]);
    const deletions = events.events.filter(({ topic }) => topic === '/tasks/delete');
    assert.equal(deletions.length, 1);
    await daemon.ctr('containers', 'rm', 'killed');
  });

  test('a shim that is killed after its container has ended: the end that it told counts', async () => {
    await using events = await EventRecorder.start(daemon);
    const shim = join(await peerBinaries(), 'containerd-shim-runc-v2');
    await daemon.ctr('run', '-d', '--runtime', shim, image, 'ended', 'sh', '-c', 'exit 9');
    await until('the end is told', () => events.statuses('ended').length > 0);
    const pid = Number((await run('pgrep', ['-f', `${shim} .*-id ended `])).trim());
    process.kill(pid, 'SIGKILL');
    await until('the deletion is told', () => events.events.some(({ topic }) => topic === '/tasks/delete'));
    assert.deepEqual(events.statuses('ended'), [9]);
    await daemon.ctr('containers', 'rm', 'ended');
  });
});
