/** The task API over real runc (needs root): lives of processes, their exits and the order of events. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { hasCode } from '../base/errors.ts';
import { makeSpec } from '../oci/default-spec.ts';
import { SIGKILL } from '../platform/signals.ts';
import { needsRoot } from '../testing/needs-root.ts';
import { anyFromWire } from '../wire/any.ts';
import { Task as TaskV2 } from '../wire/gen/containerd/runtime/task/v2/shim_pb.js';
import { Status } from '../wire/gen/containerd/types/task/task_pb.js';
import { ShimWorld } from './shim-world.fixture.ts';

const SIGTERM = 15;

describe('the task API over runc, as root', {
  skip: needsRoot('it runs containers by runc'),
}, () => {
  let world: ShimWorld;

  before(async () => {
    world = await ShimWorld.make('shim-test');
  });
  after(() => world[Symbol.asyncDispose]());

  test('output, exit code and events of a short life', async () => {
    const { id, bundle, pid, output, errors } = await world.make([
      '/bin/sh',
      '-c',
      'echo out; echo err >&2; exit 7',
    ]);
    assert.equal((await world.tasks.state({ id })).status, Status.CREATED);
    assert.equal((await world.tasks.start({ id })).pid, pid);
    assert.equal(await output, 'out\n');
    assert.equal(await errors, 'err\n');
    assert.equal((await world.tasks.wait({ id })).exitStatus, 7);
    const state = await world.tasks.state({ id });
    assert.deepEqual([state.status, state.exitStatus, state.pid], [Status.STOPPED, 7, pid]);
    assert.deepEqual((await world.tasks.pids({ id })).processes, [], 'a restarted daemon must not lose it');
    assert.equal(await world.finish(id), 7);
    assert.deepEqual(world.topics(id), ['create', 'start', `exit ${id}`, 'delete']);
    assert.ok(
      !readFileSync('/proc/self/mountinfo', 'utf8').includes(bundle),
      'the root filesystem is unmounted',
    );
    await assert.rejects(world.tasks.state({ id }), (error) => hasCode(error, 'NotFound'));
  });

  test('a program that is not there: the reason of runc, and nothing left', async () => {
    const { id, bundle } = world.makeBundle(['/bin/nope'], false);
    const request = { id, bundle, rootfs: [world.image()] };
    await assert.rejects(world.tasks.create(request), /OCI runtime create failed: .*\/bin\/nope/);
    assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(bundle));
    // The name is free again.
    writeFileSync(
      join(bundle, 'config.json'),
      JSON.stringify(makeSpec({ id, namespace: world.namespace, args: ['/bin/true'] })),
    );
    await world.tasks.create(request);
    await assert.rejects(world.tasks.create(request), (error) => hasCode(error, 'AlreadyExists'));
    await world.tasks.start({ id });
    assert.equal(await world.finish(id), 0);
  });

  test('execs: codes, failures, and their exits before that of init', async () => {
    const { id } = await world.make(['/bin/sleep', '1000'], { stdout: '' });
    await world.tasks.start({ id });
    await world.exec(id, 'short', ['/bin/sh', '-c', 'exit 9']);
    await assert.rejects(world.exec(id, 'short', ['/bin/true']), (error) => hasCode(error, 'AlreadyExists'));
    await world.tasks.start({ id, execId: 'short' });
    assert.equal((await world.tasks.wait({ id, execId: 'short' })).exitStatus, 9);
    assert.equal((await world.tasks.delete({ id, execId: 'short' })).exitStatus, 9);

    await world.exec(id, 'absent', ['/bin/nope']);
    await assert.rejects(
      world.tasks.start({ id, execId: 'absent' }),
      /OCI runtime exec failed: .*\/bin\/nope/,
    );
    await world.tasks.delete({ id, execId: 'absent' });

    await world.exec(id, 'long', ['/bin/sleep', '1000']);
    const { pid } = await world.tasks.start({ id, execId: 'long' });
    const { processes } = await world.tasks.pids({ id });
    assert.equal(processes.length, 2);
    assert.ok(anyFromWire(processes.find((one) => one.pid === pid)?.info) !== undefined);
    const running = { code: 'Unknown', message: /cannot delete a running process$/ };
    await assert.rejects(world.tasks.delete({ id, execId: 'long' }), running);
    await assert.rejects(world.tasks.delete({ id }), running);
    await world.tasks.kill({ id, signal: SIGKILL });
    assert.equal((await world.tasks.wait({ id, execId: 'long' })).exitStatus, 137);
    assert.equal(await world.finish(id), 137);
    await assert.rejects(world.tasks.kill({ id, signal: SIGKILL }), (error) => hasCode(error, 'NotFound'));
    assert.deepEqual(world.topics(id), [
      'create',
      'start',
      'exec-added',
      'exec-started',
      'exit short',
      'exec-added',
      'exec-added',
      'exec-started',
      'exit long',
      `exit ${id}`,
      'delete',
    ]);
  });

  test('pause, resume, statistics, and a kill of what is frozen', async () => {
    const { id } = await world.make(['/bin/sleep', '1000'], { stdout: '' });
    await world.tasks.start({ id });
    await world.tasks.pause({ id });
    assert.equal((await world.tasks.state({ id })).status, Status.PAUSED);
    await world.tasks.resume({ id });
    assert.equal((await world.tasks.state({ id })).status, Status.RUNNING);
    const { stats } = await world.tasks.stats({ id });
    assert.match(stats?.typeUrl ?? '', /^io\.containerd\.cgroups\.v[12]\.Metrics$/);
    assert.ok((stats?.value.byteLength ?? 0) > 0);
    await world.tasks.pause({ id });
    await world.tasks.kill({ id, signal: SIGKILL });
    assert.equal(await world.finish(id), 137);
    assert.deepEqual(world.topics(id), [
      'create',
      'start',
      'paused',
      'resumed',
      'paused',
      `exit ${id}`,
      'delete',
    ]);
  });

  test('a container that was never started is deleted, with an exit', async () => {
    const { id, pid } = await world.make(['/bin/true'], { stdout: '' });
    assert.equal((await world.tasks.delete({ id })).pid, pid);
    await world.arrived(() => world.topics(id).includes('delete'));
    assert.deepEqual(world.topics(id), ['create', `exit ${id}`, 'delete']);
  });

  test('version 2 of the API answers alike', async () => {
    const { id, pid } = await world.make(['/bin/sleep', '1000'], { stdout: '' });
    const old = world.connection.client(TaskV2);
    assert.deepEqual((await old.connect({ id })).taskPid, pid);
    await old.start({ id });
    await old.kill({ id, signal: SIGTERM, all: true });
    await old.kill({ id, signal: SIGKILL });
    assert.equal(await world.finish(id), 137);
  });

  test('50 containers in one process, each with its own code and one exit', {
    timeout: 120_000,
  }, async () => {
    const codes = Array.from({ length: 50 }, (_, code) => code);
    const ids = await Promise.all(
      codes.map(async (code) => {
        const { id } = await world.make(['/bin/sh', '-c', `exit ${code}`], { stdout: '' });
        await world.tasks.start({ id });
        return id;
      }),
    );
    assert.deepEqual(await Promise.all(ids.map((id) => world.finish(id))), codes);
    for (const id of ids) assert.deepEqual(world.topics(id), ['create', 'start', `exit ${id}`, 'delete']);
  });
});
