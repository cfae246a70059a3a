/** What a subscriber hears while a client pulls, runs, execs and removes: topic by topic, ours against the peer. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { type Registry, startRegistry } from '../support/registry.ts';

interface Heard {
  readonly topic: string;
  readonly body: unknown;
}

/** Runs the scenario under a subscription and returns the events of its namespace in order. */
async function listen(daemon: Daemon, registry: Registry): Promise<Heard[]> {
  const namespace = 'events-test';
  const ctr = (...args: string[]): Promise<string> => daemon.ctr('-n', namespace, ...args);
  const subscriber = spawn(daemon.ctr.binary, ['-a', daemon.address, 'events'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  subscriber.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const image = registry.reference('busybox');
  try {
    await until('the subscription hears us', async () => {
      await daemon.ctr('namespaces', 'label', 'probe', `at=${Date.now()}`);
      return text.includes('/namespaces/update');
    });
    await ctr('images', 'pull', '--plain-http', '--local', image);
    await ctr('run', '--rm', image, 'one', 'true');
    await ctr('run', '-d', image, 'two', 'sleep', '1000');
    await ctr('tasks', 'exec', '--exec-id', 'e1', 'two', 'true');
    await ctr('tasks', 'pause', 'two');
    await ctr('tasks', 'resume', 'two');
    await ctr('tasks', 'kill', '-s', 'SIGKILL', 'two');
    await until('two is stopped', async () => (await ctr('tasks', 'ls')).includes('STOPPED'));
    await daemon.ctr.attempt(['-n', namespace, 'tasks', 'rm', 'two']);
    await ctr('containers', 'label', 'two', 'a=b');
    await ctr('containers', 'rm', 'two');
    await ctr('images', 'tag', image, 'other:tag');
    await ctr('images', 'label', 'other:tag', 'a=b');
    await ctr('images', 'rm', '--sync', image, 'other:tag');
    await ctr('namespaces', 'label', 'last', 'a=b');
    await until('the last event arrives', () => text.includes('"last"'));
  } finally {
    subscriber.kill();
    await once(subscriber, 'exit');
  }
  return text
    .split('\n')
    .filter((line) => line.includes(` ${namespace} /`))
    .map((line) => ({
      topic: line.slice(line.indexOf(' /') + 1).split(' ')[0] as string,
      body: stable(JSON.parse(line.slice(line.indexOf('{'))), [daemon.root, daemon.state, registry.host]),
    }));
}

/** Bodies without what chance decides: pids, times, private paths, directory numbers, extract keys. */
function stable(value: unknown, paths: readonly string[]): unknown {
  const text = JSON.stringify(value, (key, inner: unknown) => {
    if (key === 'pid') return 'PID';
    if (key === 'exited_at') return 'TIME';
    return inner;
  });
  let result = text;
  for (const path of paths) result = result.replaceAll(path, 'PRIVATE');
  return JSON.parse(
    result
      .replace(/snapshots\/\d+\//g, 'snapshots/N/')
      .replace(/fifo\/\d+\//g, 'fifo/N/')
      .replace(/extract-\d+-[A-Za-z0-9_-]{4}/g, 'extract-KEY'),
  ) as unknown;
}

/** Layers are fetched side by side, so the order of neighbouring blobs is chance, in the peer as in ours. */
function settled(events: readonly Heard[]): Heard[] {
  const result: Heard[] = [];
  let blobs: Heard[] = [];
  for (const event of [...events, undefined]) {
    if (event?.topic === '/content/create') {
      blobs.push(event);
      continue;
    }
    result.push(...blobs.sort((a, b) => (JSON.stringify(a.body) < JSON.stringify(b.body) ? -1 : 1)));
    blobs = [];
    if (event !== undefined) result.push(event);
  }
  return result;
}

test('a subscriber hears the same events in the same order', async () => {
  await using registry = await startRegistry(['busybox']);
  await using ours = await startGantry();
  await using peer = await startPeer();
  const heard = { peer: await listen(peer, registry), ours: await listen(ours, registry) };
  assert.equal(heard.ours.filter(({ topic }) => topic === '/tasks/delete').length, 2);
  // A shim of containerd may end before it has sent its last event; ours sends it always.
  const [expected, actual] = [heard.peer, heard.ours].map((events) =>
    settled(events.filter(({ topic }) => topic !== '/tasks/delete')),
  ) as [Heard[], Heard[]];
  assert.ok(expected.length > 20, `the peer published only ${expected.length} events`);
  assert.deepEqual(
    actual.map(({ topic }) => topic),
    expected.map(({ topic }) => topic),
  );
  assert.deepEqual(actual, expected);
});
