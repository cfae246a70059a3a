/**
 * Our shim where it is the foreign one: under a real containerd, Debian's 1.6 and the 2.1 peer, by its own name and in
 * the place of containerd-shim-runc-v2.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cgroupOf } from '../../src/platform/cgroups/cgroup-paths.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { ctrOf } from '../support/ctr.ts';
import { type Daemon, startContainerd } from '../support/daemon.ts';
import { peerBinaries } from '../support/peers.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';
import { TaskLab } from '../support/task-lab.ts';

const skip = needsRoot('it runs containers by runc');
const bin = join(import.meta.dirname, '../../bin');
const newest = await peerBinaries();

describe('our shim under a real containerd, as root', { skip }, () => {
  for (const binaries of new Set(['/usr/bin', newest]))
    describe(`${binaries}/containerd`, { concurrency: 1 }, () => shimTests(binaries));
});

function shimTests(binaries: string): void {
  // Since 2.1 it takes a shim that holds no process for one that leaked, its own too, and forgets the task.
  const keepsEnded = binaries === '/usr/bin';
  let registry: Registry;
  let links: string;
  let daemon: Daemon;
  let lab: TaskLab;
  let image: string;
  before(async () => {
    registry = await startRegistry(['busybox']);
    image = registry.reference('busybox');
    links = await mkdtemp(join(tmpdir(), 'gantry-links-'));
    await symlink(join(bin, 'containerd-shim-gantry-v1'), join(links, 'containerd-shim-runc-v2'));
    const PATH = [links, bin, binaries, process.env['PATH'] ?? ''].join(delimiter);
    daemon = await startContainerd(binaries, { env: { PATH } });
    lab = await TaskLab.open(daemon, image, { pullBy: ctrOf(join(binaries, 'ctr'), daemon.address) });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    if (links) await rm(links, { recursive: true });
  });

  /** Our shims of this containerd: each a process that serves. */
  async function shims(): Promise<string[]> {
    const pattern = `containerd-shim-gantry-v1.* -address ${daemon.address} .*serve`;
    return (await attempt('pgrep', ['-f', pattern])).stdout.split('\n').filter((pid) => pid !== '');
  }
  const noShimIsLeft = (): Promise<void> =>
    until('every shim has left', async () => (await shims()).length === 0);
  const task = (id: string) => lab.client.tasks.task(id);
  const logOf = (id: string): string => join(links, `${id}.log`);
  const runLogged = (
    id: string,
    command: readonly string[],
    flags: readonly string[] = [],
  ): Promise<string> =>
    lab.ctr('run', '-d', '--log-uri', `file://${logOf(id)}`, ...flags, image, id, ...command);
  const pidOf = async (id: string): Promise<number> => (await task(id).state()).pid;

  /** Runs ctr within a terminal of 33 rows and 101 columns. */
  async function inTerminal(...args: string[]): Promise<string> {
    const words = [lab.ctr.binary, '-a', daemon.address, '-n', lab.namespace, ...args].map(
      (word) => `'${word}'`,
    );
    const line = `stty rows 33 cols 101; ${words.join(' ')}`;
    return (await attempt('script', ['-qec', line, '/dev/null'], { keepInputOpen: true })).stdout;
  }
  // It has none until a client has told it.
  const sizeOnceSet = 'while [ -z "$(stty size 2>/dev/null)" ]; do sleep 0.02; done; tty; stty size';

  for (const runtime of ['io.containerd.runc.v2', 'io.containerd.gantry.v1'])
    test(`${runtime}: output, input and exit status of a run`, async () => {
      const script = 'read line; echo "got $line"; echo err >&2; exit 7';
      const command = ['run', '--rm', '--runtime', runtime, image, 'once', 'sh', '-c', script];
      const outcome = await lab.ctr.attempt(command, { input: 'words\n' });
      assert.deepEqual([outcome.status, outcome.stdout], [7, 'got words\n']);
      assert.match(outcome.stderr, /^err$/m);
      await noShimIsLeft();
    });

  test('it is ours that serves, and nobody else', async () => {
    await runLogged('served', ['sleep', '1000']);
    assert.equal((await shims()).length, 1);
    const foreign = await attempt('pgrep', ['-f', `containerd-shim-runc-v2 .*-address ${daemon.address} `]);
    assert.notEqual(foreign.status, 0);
    assert.equal(await lab.end('served'), 137);
    await noShimIsLeft();
  });

  test('terminals of a run and of an exec have their device and size', async () => {
    const shown = await inTerminal('run', '--rm', '-t', image, 'term', 'sh', '-c', sizeOnceSet);
    assert.match(shown, /\/dev\/pts\/0\s+33 101/);
    await runLogged('exec-term', ['sleep', '1000']);
    const exec = ['tasks', 'exec', '-t', '--exec-id', 'e', 'exec-term', 'sh', '-c', sizeOnceSet];
    assert.match(await inTerminal(...exec), /\/dev\/pts\/\d+\s+33 101/);
    await lab.end('exec-term');
  });

  test('exec, pause, resume, pids, metrics and update', async () => {
    await runLogged('life', ['sleep', '1000']);
    assert.equal(await lab.ctr('tasks', 'exec', '--exec-id', 'e1', 'life', 'echo', 'in it'), 'in it\n');
    const failed = await lab.ctr.attempt(['tasks', 'exec', '--exec-id', 'e2', 'life', 'sh', '-c', 'exit 9']);
    assert.equal(failed.status, 9);
    const absent = await lab.ctr.attempt(['tasks', 'exec', '--exec-id', 'e3', 'life', 'no-such-program']);
    assert.match(absent.stderr, /no-such-program.*executable file not found/s);
    await lab.ctr('tasks', 'pause', 'life');
    assert.match(await lab.ctr('tasks', 'ls'), /life\s+\d+\s+PAUSED/);
    await lab.ctr('tasks', 'resume', 'life');
    assert.match(await lab.ctr('tasks', 'ls'), /life\s+\d+\s+RUNNING/);
    assert.match(await lab.ctr('tasks', 'ps', 'life'), new RegExp(`^${await pidOf('life')}\\s`, 'm'));
    assert.match(await lab.ctr('tasks', 'metrics', 'life'), /memory\.usage_in_bytes/);
    await task('life').update({ pids: { limit: 33 } });
    const cgroup = cgroupOf(await pidOf('life'));
    const directory = cgroup.version === 1 ? (cgroup.controllers.get('pids') ?? '') : cgroup.path;
    assert.equal(await readFile(join(directory, 'pids.max'), 'utf8'), '33\n');
    assert.equal(await lab.end('life'), 137);
  });

  test('events come in order, each once', async () => {
    await using events = await lab.listen();
    await runLogged('tells', ['sleep', '1000']);
    await lab.ctr('tasks', 'exec', '--exec-id', 'e', 'tells', 'true');
    await lab.ctr('tasks', 'pause', 'tells');
    await lab.ctr('tasks', 'resume', 'tells');
    await lab.end('tells');
    const told = (): string[] =>
      events
        .of('tells')
        .map(({ topic, fields }) =>
          topic === '/tasks/exit' ? `exit of ${String(fields?.['id'])}` : topic.slice('/tasks/'.length),
        );
    await until('the delete is told', () => told().includes('delete'));
    assert.deepEqual(told(), [
      ...['create', 'start', 'exec-added', 'exec-started', 'exit of e'],
      ...['paused', 'resumed', 'exit of tells', 'delete'],
    ]);
  });

  const whenTold = 'while [ ! -e /go ]; do sleep 0.02; done';
  const tell = async (pid: number): Promise<void> => {
    await attempt('touch', [`/proc/${pid}/root/go`]);
  };

  async function attach(id: string): Promise<{ heard: Promise<string> }> {
    const words = ['-a', daemon.address, '-n', lab.namespace, 'tasks', 'attach', id];
    const attached = spawn(lab.ctr.binary, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    let heard = '';
    attached.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      heard += chunk;
    });
    return { heard: once(attached, 'close').then(() => heard) };
  }

  test('attach hears what comes after it', async () => {
    await lab.ctr('run', '-d', image, 'talks', 'sh', '-c', `${whenTold}; echo said; sleep 0.2`);
    const pid = await pidOf('talks');
    const { heard } = await attach('talks');
    await tell(pid);
    assert.equal(await heard, 'said\n');
    await lab.ctr.attempt(['tasks', 'rm', '-f', 'talks']);
  });

  for (const [index, how, end] of [
    [0, 'SIGTERM', (it: Daemon) => it.stop()],
    [1, 'kill -9', (it: Daemon) => it.kill()],
  ] as const)
    test(`after ${how} of containerd: tasks run on, exits and logs are there, execs and attach work`, async () => {
      const [stays, leaves, talks] = ['stays', 'leaves', 'speaks'].map((name) => `${name}-${index}`) as [
        string,
        string,
        string,
      ];
      await runLogged(stays, ['sh', '-c', `${whenTold}; echo went on; exec sleep 1000`]);
      await runLogged(leaves, ['sh', '-c', `${whenTold}; echo bye; exit 7`]);
      await lab.ctr('run', '-d', image, talks, 'sh', '-c', `${whenTold}; echo said; sleep 0.2`);
      const [staying, leaving, talking] = await Promise.all([pidOf(stays), pidOf(leaves), pidOf(talks)]);
      await end(daemon);
      await tell(staying);
      await tell(leaving);
      await until('one has left', () => !existsSync(`/proc/${leaving}`));
      await until('the other has spoken', async () => (await readFile(logOf(stays), 'utf8')) === 'went on\n');
      assert.equal(await readFile(logOf(leaves), 'utf8'), 'bye\n');
      await daemon.start();
      assert.deepEqual(
        [(await task(stays).state()).status, await pidOf(stays)],
        ['running', staying],
        'the task was not found again',
      );
      if (keepsEnded) {
        const { status, exitStatus } = await task(leaves).state();
        assert.deepEqual([status, exitStatus], ['stopped', 7]);
        assert.equal(await lab.end(leaves), 7);
      } else await assert.rejects(task(leaves).state(), { code: 'NotFound' });
      assert.equal(
        await lab.ctr('tasks', 'exec', '--exec-id', 'e', stays, 'echo', 'still here'),
        'still here\n',
      );
      const { heard } = await attach(talks);
      await tell(talking);
      assert.equal(await heard, 'said\n');
      await lab.ctr.attempt(['tasks', 'rm', '-f', talks]);
      assert.equal(await lab.end(stays), 137);
      await noShimIsLeft();
    });

  for (const annotation of ['io.kubernetes.cri.sandbox-id', 'io.containerd.runc.v2.group'])
    test(`containers of one ${annotation} share one shim, others do not`, async () => {
      const grouped = ['--annotation', `${annotation}=pod`];
      await runLogged('first', ['sleep', '1000'], grouped);
      const [shim] = await shims();
      await runLogged('second', ['sleep', '1000'], grouped);
      assert.deepEqual(await shims(), [shim]);
      await runLogged('third', ['sleep', '1000'], ['--annotation', `${annotation}=another`]);
      assert.equal((await shims()).length, 2);
      assert.equal(await lab.end('first'), 137);
      assert.equal((await task('second').state()).status, 'running');
      assert.ok((await shims()).includes(shim ?? ''));
      await daemon.kill();
      await daemon.start();
      assert.equal((await task('second').state()).status, 'running');
      assert.equal(await lab.end('second'), 137);
      assert.equal(await lab.end('third'), 137);
      await noShimIsLeft();
    });

  test('when our shim is killed, containerd cleans up by it', async () => {
    await using events = await lab.listen();
    await runLogged('lost', ['sleep', '1000']);
    const pid = await pidOf('lost');
    const [shim = ''] = await shims();
    await attempt('kill', ['-KILL', shim]);
    await until('the container has gone', () => !existsSync(`/proc/${pid}`));
    await until('its end is told', () => events.of('lost').some(({ topic }) => topic === '/tasks/delete'));
    assert.deepEqual(await lab.client.tasks.list(), []);
    await lab.ctr('containers', 'rm', 'lost');
    await lab.ctr('run', '--rm', image, 'lost', 'true');
  });
}
