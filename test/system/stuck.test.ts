/**
 * What hangs, crashes or lies below the daemon never hangs a caller for ever, never harms a container that nobody asked
 * to end, and is told by name: over the real daemon, ctr and runc, with time-outs of a second or two.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { Tasks } from '../../src/wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';
import { EventRecorder } from '../support/event-recorder.ts';
import { FaultyRunc } from '../support/faulty-runc.ts';
import { peerBinaries } from '../support/peers.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { attempt, run } from '../support/run.ts';
import { shimPids } from '../support/shims.ts';
import { exitStatus } from '../support/task-state.ts';

const config = `
[timeouts]
'io.containerd.timeout.task.state' = '1s'
'io.gantry.timeout.task.create' = '2s'
'io.gantry.timeout.task.start' = '2s'
'io.gantry.timeout.task.kill' = '1s'
'io.gantry.timeout.task.delete' = '2s'
'io.gantry.timeout.task.change' = '2s'
'io.gantry.timeout.task.escalation' = '500ms'
`;

/** Generous for a busy machine, and far below what a hang is. */
const boundMs = 20_000;

describe('what hangs', { concurrency: 1 }, () => {
  let registry: Registry;
  let daemon: Daemon;
  let runc: FaultyRunc;
  let events: EventRecorder;
  let image: string;
  let made = 0;
  let id: string;

  before(async () => {
    registry = await startRegistry(['busybox']);
    daemon = await startGantry({ config });
    image = registry.reference('busybox');
    await daemon.ctr('images', 'pull', '--plain-http', image);
    events = await EventRecorder.start(daemon);
  });
  after(async () => {
    await events?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    runc = await FaultyRunc.make();
    made += 1;
    id = `s${made}`;
  });
  afterEach(async () => {
    await daemon.ctr.attempt(['tasks', 'kill', '-s', 'SIGKILL', id]);
    await daemon.ctr.attempt(['tasks', 'rm', '-f', id]);
    await daemon.ctr.attempt(['containers', 'rm', id]);
    await runc[Symbol.asyncDispose]();
  });

  const ctr = (...args: string[]) => daemon.ctr.attempt(args, { timeoutMs: boundMs });
  const runIt = (...command: string[]) => ctr('run', '-d', '--runc-binary', runc.path, image, id, ...command);
  const bundle = (): string => join(daemon.state, 'io.containerd.runtime.v2.task/default', id);
  const rowOf = async (): Promise<string> =>
    (await daemon.ctr('tasks', 'ls')).split('\n').find((line) => line.startsWith(`${id} `)) ?? '';
  const hung = async (): Promise<string> => (await attempt('pgrep', ['-f', runc.path])).stdout;

  async function killAndDelete(): Promise<void> {
    await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', id);
    await until('it has ended', async () => /STOPPED/.test(await rowOf()));
    assert.equal(await exitStatus(daemon, id), 137);
    await ctr('tasks', 'rm', id);
    assert.equal(await rowOf(), '');
    assert.deepEqual(events.statuses(id), [137]);
  }

  test('a create in runc: an error, and nothing is left', async () => {
    await runc.fail('create', 'hang');
    const { status, stderr } = await runIt('sleep', '1000');
    assert.equal(status, 1);
    assert.match(stderr, /create/);
    assert.deepEqual(events.steps(id), ['ping of create', 'runtime-kill of create']);
    assert.equal(await rowOf(), '');
    assert.ok(!existsSync(bundle()));
    assert.equal(await hung(), '');
  });

  test('a start in runc: an error, the shim lives, and the next start works', async () => {
    const [shim] = await shimPids(daemon);
    await runc.fail('start', 'hang');
    const { status, stderr } = await runIt('sleep', '1000');
    assert.equal(status, 1);
    assert.match(stderr, /start/);
    assert.deepEqual(events.steps(id), ['ping of start', 'runtime-kill of start']);
    await runc.heal('start');
    if (shim !== undefined) assert.deepEqual(await shimPids(daemon), [shim]);
    await using connection = connectGrpc(daemon.address, { namespace: 'default' });
    await connection.client(Tasks).start({ containerId: id });
    await killAndDelete();
  });

  test('an exec in runc: an error, and the container goes on', async () => {
    assert.equal((await runIt('sleep', '1000')).status, 0);
    await runc.fail('exec', 'hang');
    assert.equal((await ctr('tasks', 'exec', '--exec-id', 'e1', id, 'true')).status, 1);
    assert.deepEqual(events.steps(id), ['ping of start', 'runtime-kill of start']);
    await runc.heal('exec');
    assert.equal(await daemon.ctr('tasks', 'exec', '--exec-id', 'e2', id, 'echo', 'on'), 'on\n');
    await killAndDelete();
  });

  test('a pause in runc: an error, and the container goes on', async () => {
    assert.equal((await runIt('sleep', '1000')).status, 0);
    await runc.fail('pause', 'hang');
    assert.equal((await ctr('tasks', 'pause', id)).status, 1);
    assert.match(await rowOf(), /RUNNING/);
    await killAndDelete();
  });

  test('a delete in runc: bounded, and the next one takes the container away', async () => {
    assert.equal((await runIt('true')).status, 0);
    await until('it has ended', async () => /STOPPED/.test(await rowOf()));
    await runc.fail('delete', 'hang');
    await ctr('tasks', 'rm', id);
    assert.ok(events.steps(id).includes('runtime-kill of delete'));
    await runc.heal('delete');
    await ctr('tasks', 'rm', id);
    assert.equal(await rowOf(), '');
    assert.ok(!existsSync(bundle()));
    assert.deepEqual(events.statuses(id), [0]);
  });

  test('a runc that is only slow is waited for', async () => {
    for (const subcommand of ['create', 'start', 'delete']) await runc.fail(subcommand, 'sleep');
    assert.equal((await runIt('sleep', '1000')).status, 0);
    await killAndDelete();
    assert.deepEqual(events.steps(id), []);
  });

  for (const subcommand of ['create', 'start'])
    for (const fault of ['crash', 'lie'] as const)
      test(`a ${subcommand} whose runc shall ${fault}: told, or it can be ended; nothing is left`, async () => {
        await runc.fail(subcommand, fault);
        const { status } = await runIt('sleep', '1000');
        // A start that was not done and is said to be: the shim cannot know it.
        assert.equal(status, subcommand === 'start' && fault === 'lie' ? 0 : 1);
        await runc.heal(subcommand);
        if (status === 0) await killAndDelete();
        // Made, and not started: as after any start that fails.
        else if (subcommand === 'start') await ctr('tasks', 'rm', '-f', id);
        assert.equal(await rowOf(), '');
        assert.ok(!existsSync(bundle()));
      });

  test('a process that SIGKILL does not end, because it is frozen: thawed, and ended', async () => {
    assert.equal((await runIt('sleep', '1000')).status, 0);
    const pid = /\s(\d+)\s/.exec(await rowOf())?.[1] ?? '';
    await freeze(Number(pid));
    await using connection = connectGrpc(daemon.address, { namespace: 'default' });
    const waiting = connection.client(Tasks).wait({ containerId: id });
    await daemon.ctr('tasks', 'kill', '-s', 'SIGKILL', id);
    await until('it has ended', async () => /STOPPED/.test(await rowOf()), { timeoutMs: boundMs });
    assert.equal((await waiting).exitStatus, 137);
    const steps = events.steps(id);
    assert.ok(steps.includes('cgroup-kill of exit'), steps.join(', '));
    assert.ok(!steps.some((step) => step.startsWith('shim-kill')), steps.join(', '));
    await ctr('tasks', 'rm', id);
    assert.deepEqual(events.statuses(id), [137]);
  });

  test('output into a FIFO that nobody reads blocks its own container and no other, and can be ended', async () => {
    const fifo = join(daemon.state, `${id}.fifo`);
    await run('mkfifo', [fifo]);
    await daemon.ctr(
      'containers',
      'create',
      image,
      id,
      'sh',
      '-c',
      'while :; do echo 0123456789abcdef; done',
    );
    await using connection = connectGrpc(daemon.address, { namespace: 'default' });
    const tasks = connection.client(Tasks);
    const rootfs = JSON.parse(await daemon.ctr('snapshots', 'mounts', '/absent', id).then(mountOf)) as never;
    await tasks.create({ containerId: id, rootfs, stdout: fifo });
    await tasks.start({ containerId: id });
    const other = await daemon.ctr('run', '--rm', image, `${id}-other`, 'echo', 'others go on');
    assert.equal(other, 'others go on\n');
    assert.match(await rowOf(), /RUNNING/);
    await killAndDelete();
  });

  test('a shim that is stopped dead is replaced, and its containers go on', async () => {
    assert.equal((await runIt('sleep', '1000')).status, 0);
    const row = await rowOf();
    const [shim] = await shimPids(daemon);
    assert.ok(shim !== undefined);
    process.kill(shim, 'SIGSTOP');
    await until('the task is listed again', async () => (await rowOf()) === row, { timeoutMs: boundMs });
    assert.ok(!(await shimPids(daemon)).includes(shim));
    assert.equal(await daemon.ctr('tasks', 'exec', '--exec-id', 'e', id, 'echo', 'on'), 'on\n');
    await killAndDelete();
  });

  test('a foreign shim that is stopped dead: gantry ps names the container, its age and the call', async () => {
    const shim = join(await peerBinaries(), 'containerd-shim-runc-v2');
    await daemon.ctr('run', '-d', '--runtime', shim, image, id, 'sleep', '1000');
    const gantry = async (...args: string[]) =>
      run(join(import.meta.dirname, '../../bin/gantry'), ['--address', daemon.address, ...args]);
    const up = new RegExp(`^${id} .* Up *$`, 'm');
    assert.match(await gantry('ps'), up);
    const pid = Number((await run('pgrep', ['-f', `${shim} .*-id ${id} `])).trim());
    process.kill(pid, 'SIGSTOP');
    try {
      const listed = await gantry('ps');
      assert.match(listed, new RegExp(`^${id} .* STUCK \\d+\\.\\d s in state *$`, 'm'));
      const [row] = JSON.parse(await gantry('ps', '--filter', 'status=stuck', '--output', 'json')) as [
        { id: string; stuck: { call: string; ageMs: number; step: string } },
      ];
      assert.deepEqual([row.id, row.stuck.call, row.stuck.step], [id, 'state', 'ping']);
      assert.ok(row.stuck.ageMs >= 1_000);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await until('it is up again', async () => up.test(await gantry('ps')));
    await killAndDelete();
  });
});

test('a daemon that starts while its shim is stopped dead keeps the containers, and soon has them back', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry({ config: `${config}'io.containerd.timeout.shim.load' = '1s'\n` });
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  for (const id of ['l1', 'l2']) await daemon.ctr('run', '-d', image, id, 'sleep', '1000');
  const earlier = await daemon.ctr('tasks', 'ls');
  const [shim] = await shimPids(daemon);
  assert.ok(shim !== undefined);
  await daemon.kill();
  process.kill(shim, 'SIGSTOP');
  await daemon.start();
  const same = async (): Promise<boolean> => (await daemon.ctr('tasks', 'ls')) === earlier;
  await until('both are listed as before', same, { timeoutMs: boundMs });
  assert.ok(!(await shimPids(daemon)).includes(shim));
  assert.equal(await daemon.ctr('tasks', 'exec', '--exec-id', 'e', 'l1', 'echo', 'on'), 'on\n');
});

/** Puts the process's cgroup to sleep behind the back of everybody. */
async function freeze(pid: number): Promise<void> {
  const memberships = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).split('\n');
  const v1 = memberships.find((line) => line.split(':')[1] === 'freezer');
  const path = (v1 ?? memberships.find((line) => line.startsWith('0::')) ?? '').split(':')[2] ?? '';
  const [file, word] =
    v1 === undefined
      ? [join('/sys/fs/cgroup', path, 'cgroup.freeze'), '1']
      : [join('/sys/fs/cgroup/freezer', path, 'freezer.state'), 'FROZEN'];
  await writeFile(file, word);
}

/** What `ctr snapshots mounts` prints for a person, as the task service wants it. */
function mountOf(command: string): string {
  const [, type = '', source = '', options = ''] =
    /^mount -t (\S+) (\S+) \S+(?: -o (\S+))?/.exec(command.trim()) ?? [];
  return JSON.stringify([{ type, source, options: options.split(',') }]);
}
