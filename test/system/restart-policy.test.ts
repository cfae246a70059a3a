/** Restart labels as nerdctl writes them: what should run is started again, what should not is stopped. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';

const config = `[plugins."io.containerd.monitor.container.v1.restart"]\ninterval = "100ms"\n`;

describe('restart policies', { concurrency: 1 }, () => {
  let registry: Registry;
  let daemon: Daemon;
  let image: string;
  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startGantry({ config });
    image = registry.reference('busybox');
    await daemon.ctr('images', 'pull', '--plain-http', image);
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const label = (name: string, value: string): string => `containerd.io/restart.${name}=${value}`;
  const start = (id: string, labels: readonly string[], ...command: string[]): Promise<string> =>
    daemon.ctr('run', '-d', ...labels.flatMap((each) => ['--label', each]), image, id, ...command);
  const labelsOf = async (id: string): Promise<Record<string, string>> =>
    (JSON.parse(await daemon.ctr('containers', 'info', id)) as { Labels: Record<string, string> }).Labels;
  const countOf = async (id: string): Promise<number> =>
    Number((await labelsOf(id))['containerd.io/restart.count'] ?? 0);
  const row = async (id: string): Promise<string> =>
    new RegExp(`^${id} +.*$`, 'm').exec(await daemon.ctr('tasks', 'ls'))?.[0] ?? '';
  const pidOf = async (id: string): Promise<string> => /\d+/.exec(await row(id))?.[0] ?? '0';
  const stop = async (id: string): Promise<void> => {
    await daemon.ctr('containers', 'label', id, label('status', 'stopped'));
    await until('it has no task that runs', async () => !/RUNNING/.test(await row(id)));
  };

  test('always: a killed one runs again, counted, with its output in the log', async () => {
    const log = join(dirname(daemon.address), 'kept.log');
    const labels = [label('status', 'running'), label('policy', 'always'), label('loguri', `file://${log}`)];
    await start('kept', labels, 'sh', '-c', 'echo up; exec sleep 1000');
    const first = await pidOf('kept');
    await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', 'kept');
    await until(
      'it runs again',
      async () => /RUNNING/.test(await row('kept')) && (await pidOf('kept')) !== first,
    );
    assert.equal(await countOf('kept'), 1);
    await until('it has written', async () => (await readFile(log, 'utf8').catch(() => '')) === 'up\n');

    await stop('kept');
    assert.equal(await row('kept'), '');
  });

  test('on-failure: as often as it says, and not after success', async () => {
    const policy = [label('status', 'running'), label('policy', 'on-failure:2')];
    await start('fails', policy, 'false');
    await start('succeeds', policy, 'true');
    await until('it was tried twice', async () => (await countOf('fails')) === 2);
    await until('it has ended', async () => /STOPPED/.test(await row('fails')));
    // A third look in which nothing happens: the container that is watched beside it has been restarted since.
    await start('witness', [label('status', 'running')], 'true');
    await until('another was restarted', async () => (await countOf('witness')) >= 2);
    assert.deepEqual([await countOf('fails'), await countOf('succeeds')], [2, 0]);
    await stop('witness');
  });

  test('one that is paused, and one that nobody labelled, are left alone', async () => {
    await start('paused', [label('status', 'running')], 'sleep', '1000');
    await daemon.ctr('tasks', 'pause', 'paused');
    await start('plain', [], 'true');
    await start('looked-at', [label('status', 'running')], 'true');
    await until('others were restarted', async () => (await countOf('looked-at')) >= 2);
    assert.match(await row('paused'), /PAUSED/);
    assert.match(await row('plain'), /STOPPED/);
    await daemon.ctr('tasks', 'resume', 'paused');
    for (const id of ['paused', 'looked-at']) await stop(id);
  });

  test('a policy that is none is told to the log, and the others go on', async () => {
    await start('odd', [label('status', 'running'), label('policy', 'sometimes')], 'true');
    await until('the log names it', async () => /restart policy \\?"sometimes/.test(await daemon.log()));
    assert.equal(await countOf('odd'), 0);
  });

  test('what should run runs after a restart of the daemon and the death of everything', async () => {
    await start('survivor', [label('status', 'running')], 'sleep', '1000');
    const pid = await pidOf('survivor');
    await daemon.kill();
    await attempt('kill', ['-9', pid]);
    await daemon.start();
    await until('it runs again', async () => /RUNNING/.test(await row('survivor')));
    await stop('survivor');
  });
});
