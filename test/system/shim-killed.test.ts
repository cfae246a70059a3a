/**
 * The shim is killed with -9, alone or together with the daemon: containers go on under the next one, everything works
 * on them, their exit codes are right and each end is told once.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { EventRecorder } from '../support/event-recorder.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';
import { killShim, shimPids } from '../support/shims.ts';
import { exitStatus } from '../support/task-state.ts';

/** Runs until somebody makes /go, and ends with its first argument. */
const untilGo = (status: number): string[] => [
  'sh',
  '-c',
  `while [ ! -e /go ]; do sleep 0.05; done; echo going; exit ${status}`,
];

let registry: Registry;
before(async () => {
  registry = await startRegistry(['busybox']);
});
after(() => registry?.[Symbol.asyncDispose]());

async function startDaemon(sharing: string): Promise<{ daemon: Daemon; image: string }> {
  const daemon = await startGantry({ config: `[shim]\nsharing = '${sharing}'\n` });
  const image = registry.reference('busybox');
  try {
    await daemon.ctr('images', 'pull', '--plain-http', image);
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
  return { daemon, image };
}

interface Row {
  readonly pid: string;
  readonly status: string;
}

async function rows(daemon: Daemon): Promise<Map<string, Row>> {
  const lines = (await daemon.ctr('tasks', 'ls')).trim().split('\n').slice(1);
  return new Map(
    lines.map((line) => {
      const [id = '', pid = '', status = ''] = line.split(/\s+/);
      return [id, { pid, status }];
    }),
  );
}

const stopped = (daemon: Daemon, id: string): Promise<void> =>
  until(`${id} has ended`, async () => (await rows(daemon)).get(id)?.status === 'STOPPED');

const letGo = (pid: string): Promise<unknown> => attempt('touch', [`/proc/${pid}/root/go`]);

async function onlyShim(daemon: Daemon): Promise<number> {
  const pids = await shimPids(daemon);
  assert.equal(pids.length, 1);
  return pids[0] as number;
}

/** Takes all away, and shows that nothing is left of it. */
async function removeAll(daemon: Daemon): Promise<void> {
  for (const [id, { status }] of await rows(daemon)) {
    if (status !== 'STOPPED') await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', id);
    await stopped(daemon, id);
    await daemon.ctr.attempt(['tasks', 'rm', id]);
  }
  assert.equal((await rows(daemon)).size, 0);
  const bundles = join(daemon.state, 'io.containerd.runtime.v2.task/default');
  assert.deepEqual(await readdir(bundles).catch(() => []), []);
}

describe('one shim of all, killed', { concurrency: 1 }, () => {
  let daemon: Daemon;
  let image: string;
  let events: EventRecorder;
  before(async () => {
    ({ daemon, image } = await startDaemon('node'));
    events = await EventRecorder.start(daemon);
  });
  after(async () => {
    await events?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
  });

  test('eight containers go on; exec, kill, exit codes and deletion work under the next one', async () => {
    const ids = Array.from({ length: 8 }, (_, index) => `k${index}`);
    for (const [index, id] of ids.entries()) await daemon.ctr('run', '-d', image, id, ...untilGo(10 + index));
    const earlier = await rows(daemon);
    const shim = await onlyShim(daemon);
    killShim(shim);
    await until('another shim has taken over', async () => {
      const now = await rows(daemon);
      return ids.every((id) => now.get(id)?.status === 'RUNNING');
    });
    assert.deepEqual(await rows(daemon), earlier);
    assert.notEqual(await onlyShim(daemon), shim);
    const [first = '', second = '', ...others] = ids;
    assert.equal(await daemon.ctr('tasks', 'exec', '--exec-id', 'e', first, 'echo', 'inside'), 'inside\n');
    await daemon.ctr('tasks', 'pause', first);
    assert.equal((await rows(daemon)).get(first)?.status, 'PAUSED');
    await daemon.ctr('tasks', 'resume', first);
    assert.match(await daemon.ctr('tasks', 'metrics', first), /memory/i);
    await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', second);
    for (const id of [first, ...others]) await letGo(earlier.get(id)?.pid ?? '');
    for (const id of ids) await stopped(daemon, id);
    for (const [index, id] of ids.entries()) {
      const expected = id === second ? 137 : 10 + index;
      assert.equal(await exitStatus(daemon, id), expected, id);
      assert.deepEqual(events.statuses(id), [expected], id);
    }
    await removeAll(daemon);
  });

  test('ctr in the foreground sees the output and the exit code, whatever happens to the shim', async () => {
    const running = daemon.ctr.attempt(['run', '--rm', image, 'front', ...untilGo(5)]);
    await until('it runs', async () => (await rows(daemon)).get('front')?.status === 'RUNNING');
    for (let deaths = 0; deaths < 3; deaths += 1) {
      killShim(await onlyShim(daemon));
      await until('it is listed', async () => (await rows(daemon)).get('front')?.status === 'RUNNING');
    }
    await letGo((await rows(daemon)).get('front')?.pid ?? '');
    const { status, stdout } = await running;
    assert.deepEqual([status, stdout], [5, 'going\n']);
    assert.deepEqual(events.statuses('front'), [5]);
    assert.equal((await rows(daemon)).size, 0);
  });

  test('during an exec', async () => {
    await daemon.ctr('run', '-d', image, 'mid', ...untilGo(6));
    const script = 'while [ ! -e /go-exec ]; do sleep 0.05; done; exit 9';
    const exec = daemon.ctr.attempt(['tasks', 'exec', '--exec-id', 'long', 'mid', 'sh', '-c', script]);
    await until('the exec runs', async () => (await daemon.ctr('tasks', 'ps', 'mid')).includes('long'));
    killShim(await onlyShim(daemon));
    await until('it is listed', async () => (await rows(daemon)).get('mid')?.status === 'RUNNING');
    const pid = (await rows(daemon)).get('mid')?.pid ?? '';
    await attempt('touch', [`/proc/${pid}/root/go-exec`]);
    assert.equal((await exec).status, 9);
    await letGo(pid);
    await stopped(daemon, 'mid');
    assert.equal(await exitStatus(daemon, 'mid'), 6);
    const ends = events.exits().filter(({ container }) => container === 'mid');
    assert.deepEqual(
      new Map(ends.map(({ process, status }) => [process, status])),
      new Map([
        ['long', 9],
        ['mid', 6],
      ]),
    );
    assert.equal(ends.length, 2);
    await removeAll(daemon);
  });

  test('under a load of runs: every one ends with its own exit code', async () => {
    const over = new AbortController();
    const killing = (async () => {
      while (!over.signal.aborted) {
        for (const pid of await shimPids(daemon)) killShim(pid);
        await until(
          'there is a shim, or nothing to do',
          async () => over.signal.aborted || (await shimPids(daemon)).length > 0,
        );
      }
    })();
    const runs = Array.from({ length: 3 }, async (_, lane) => {
      for (let turn = 0; turn < 3; turn += 1) {
        const status = 20 + lane * 3 + turn;
        const id = `load-${lane}-${turn}`;
        const result = await daemon.ctr.attempt(['run', '--rm', image, id, 'sh', '-c', `exit ${status}`]);
        // A shim that is killed again and again may be too much for one call, and then it says so.
        if (result.status === status) assert.deepEqual(events.statuses(id), [status], id);
        else assert.match(result.stderr, /unavailable|closed|died/i, `${id}: ${result.status}`);
      }
    });
    await Promise.all(runs);
    over.abort();
    await killing;
    await removeAll(daemon);
  });
});

test('daemon and shim killed together: exits that happened meanwhile are known, once', async () => {
  const { daemon: started, image } = await startDaemon('node');
  await using daemon = started;
  await daemon.ctr('run', '-d', image, 'stays', 'sleep', '1000');
  await daemon.ctr('run', '-d', image, 'leaves', ...untilGo(7));
  const earlier = await rows(daemon);
  const leaves = earlier.get('leaves')?.pid ?? '';
  await daemon.kill();
  for (const pid of await shimPids(daemon)) killShim(pid);
  await until('there is no shim', async () => (await shimPids(daemon)).length === 0);
  await letGo(leaves);
  await until('it has ended', () => !existsSync(`/proc/${leaves}`));
  await daemon.start();
  const found = await rows(daemon);
  assert.deepEqual(found.get('stays'), earlier.get('stays'));
  assert.equal(found.get('leaves')?.status, 'STOPPED');
  assert.equal(await exitStatus(daemon, 'leaves'), 7);
  await using events = await EventRecorder.start(daemon);
  assert.equal(await daemon.ctr('tasks', 'exec', '--exec-id', 'e', 'stays', 'echo', 'on'), 'on\n');
  await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', 'stays');
  await stopped(daemon, 'stays');
  // The shim tries to reach a daemon that is starting a little later each time.
  await until('the end is told', () => events.statuses('stays').length > 0);
  assert.deepEqual(events.statuses('stays'), [137]);
  await removeAll(daemon);
});

for (const [sharing, pods] of [
  ['container', 3],
  ['pod', 2],
] as const)
  test(`sharing by ${sharing}: a shim for each, and killing one leaves the others alone`, async () => {
    const { daemon: started, image } = await startDaemon(sharing);
    await using daemon = started;
    await using events = await EventRecorder.start(daemon);
    const label = (pod: string): string[] => ['--annotation', `io.kubernetes.cri.sandbox-id=${pod}`];
    await daemon.ctr('run', '-d', ...label('p1'), image, 'a', ...untilGo(1));
    await daemon.ctr('run', '-d', ...label('p1'), image, 'b', ...untilGo(2));
    await daemon.ctr('run', '-d', ...label('p2'), image, 'c', ...untilGo(3));
    const shims = await shimPids(daemon);
    assert.equal(shims.length, pods);
    const earlier = await rows(daemon);
    killShim(shims[0] as number);
    await until('another has taken over', async () => {
      const pids = await shimPids(daemon);
      return pids.length === pods && !pids.includes(shims[0] as number);
    });
    assert.deepEqual(await rows(daemon), earlier);
    assert.deepEqual((await shimPids(daemon)).filter((pid) => shims.includes(pid)).length, pods - 1);
    // A restarted daemon finds each by its bundle, whatever the setting says by then.
    await daemon.kill();
    await daemon.start();
    assert.deepEqual(await rows(daemon), earlier);
    await using later = await EventRecorder.start(daemon);
    for (const [id, status] of [
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ] as const) {
      await letGo(earlier.get(id)?.pid ?? '');
      await stopped(daemon, id);
      assert.equal(await exitStatus(daemon, id), status);
      assert.deepEqual([...events.statuses(id), ...later.statuses(id)], [status]);
    }
    await removeAll(daemon);
    await until('the shims have gone', async () => (await shimPids(daemon)).length === 0);
    const groups = async () => readdir(join(daemon.state, 'io.containerd.shim.v1.manager'));
    await until('their directories too', async () => (await groups()).length === 0);
  });
