/** The shims of the task manager, as real processes over runc (needs root): sharing, death, restart. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { background } from '../../base/context.ts';
import { silentLogger } from '../../base/logger.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { needsRoot } from '../../testing/needs-root.ts';
import { until } from '../../testing/until.ts';
import { Task } from '../../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { connectTtrpc } from '../../wire/ttrpc/client.ts';
import { ManagerLab } from './manager-lab.fixture.ts';

const isOneOf =
  (tasks: readonly { readonly containerId: string }[]) =>
  ([id]: readonly [string, number]): boolean =>
    tasks.some(({ containerId }) => containerId === id);

describe('shims of the task manager, as root', { skip: needsRoot('it runs containers by runc') }, () => {
  let lab: ManagerLab;

  before(async () => {
    lab = await ManagerLab.open('manager-shims-test');
  });
  after(() => lab[Symbol.asyncDispose]());

  test('containers of two namespaces share one shim, and two may bear one id', async () => {
    const first = await lab.run(lab.here, ['sleep', '1000']);
    const second = await lab.run(lab.there, ['sleep', '1000'], { id: first.containerId });
    assert.equal(first.containerId, second.containerId);
    assert.equal(
      await lab.shimOf(lab.here, first.containerId),
      await lab.shimOf(lab.there, second.containerId),
    );
    assert.deepEqual(
      (await lab.manager.list(lab.here)).map(({ pid, status }) => [pid, status]),
      [[first.pid, 'running']],
    );
    assert.equal(await lab.remove(lab.here, first.containerId), 137);
    assert.equal((await lab.manager.state(lab.there, second)).status, 'running');
    assert.equal(await lab.remove(lab.there, second.containerId), 137);
    assert.ok(!existsSync(lab.bundleOf(lab.here, first.containerId)));
    await assert.rejects(lab.manager.state(lab.here, first), {
      code: 'NotFound',
      message: `task ${first.containerId} not found`,
    });
  });

  test('a shim that is killed: containers go on under the next one, and each end is told once', async () => {
    const killed = await Promise.all([
      lab.run(lab.here, ['sleep', '1000']),
      lab.run(lab.there, ['sleep', '1000']),
    ]);
    const [inHere, inThere] = killed;
    const waiting = [lab.manager.wait(lab.here, inHere), lab.manager.wait(lab.there, inThere)];
    const pid = await lab.shimOf(lab.here, inHere.containerId);
    lab.platform.processes.kill(pid, SIGKILL);
    assert.equal((await lab.manager.state(lab.here, inHere)).status, 'running');
    assert.notEqual(await lab.shimOf(lab.here, inHere.containerId), pid);
    for (const { pid: init } of killed) assert.ok(lab.platform.processes.isAlive(init));
    await lab.manager.kill(lab.here, inHere, SIGKILL, { all: false });
    await lab.manager.kill(lab.there, inThere, SIGKILL, { all: false });
    for (const end of await Promise.all(waiting)) assert.equal(end.exitStatus, 137);
    await lab.manager.delete(lab.here, inHere.containerId);
    await lab.manager.delete(lab.there, inThere.containerId);
    await until('both are told', () => lab.heard.exits().filter(isOneOf(killed)).length >= 2);
    assert.equal(lab.heard.exits().filter(isOneOf(killed)).length, 2);
  });

  test('a shim that was about to leave is replaced, and the create does not notice', async () => {
    const first = await lab.run(lab.here, ['sleep', '1000']);
    const pid = await lab.shimOf(lab.here, first.containerId);
    await lab.remove(lab.here, first.containerId);
    await using connection = await connectTtrpc(lab.sharedSocket(), { namespace: lab.here.namespace });
    await connection.client(Task).shutdown({ id: '', now: true });
    const second = await lab.run(lab.here, ['sleep', '1000']);
    assert.notEqual(await lab.shimOf(lab.here, second.containerId), pid);
    await lab.remove(lab.here, second.containerId);
  });

  test('a container that puts its shim into a cgroup has one of its own', async () => {
    const shared = await lab.run(lab.here, ['sleep', '1000']);
    const alone = await lab.run(lab.here, ['sleep', '1000'], { runtime: { options: lab.inCgroup() } });
    const pid = await lab.shimOf(lab.here, alone.containerId, lab.addressOf(lab.here, alone.containerId));
    assert.notEqual(pid, await lab.shimOf(lab.here, shared.containerId));
    await lab.remove(lab.here, alone.containerId);
    await until('its shim has left', () => !lab.platform.processes.isAlive(pid));
    assert.equal((await lab.manager.state(lab.here, shared)).status, 'running');
    await lab.remove(lab.here, shared.containerId);
  });

  test('the next manager finds running and ended tasks, also of a shim that died; what never came to be goes', async () => {
    const stays = await lab.run(lab.here, ['sleep', '1000']);
    const ends = await lab.run(lab.there, ['sh', '-c', 'exit 7']);
    await lab.manager.wait(lab.there, ends);
    const alone = await lab.run(lab.here, ['sleep', '1000'], { runtime: { options: lab.inCgroup() } });
    const itsShim = await lab.shimOf(lab.here, alone.containerId, lab.addressOf(lab.here, alone.containerId));
    await lab.manager[Symbol.asyncDispose]();
    lab.platform.processes.kill(itsShim, SIGKILL);
    mkdirSync(lab.bundleOf(lab.here, 'half-made'), { recursive: true });
    mkdirSync(join(lab.directory, 'root', lab.here.namespace, 'orphan'), { recursive: true });

    await lab.nextManager().load(background(silentLogger));
    const found = (await lab.manager.list(lab.here)).map(({ id, pid, status }) => [id, pid, status]);
    const byPid = (a: (typeof found)[number], b: (typeof found)[number]): number =>
      Number(a[1]) - Number(b[1]);
    assert.deepEqual(found.toSorted(byPid), [
      [stays.containerId, stays.pid, 'running'],
      [alone.containerId, alone.pid, 'running'],
    ]);
    assert.equal((await lab.manager.state(lab.there, ends)).status, 'stopped');
    assert.equal((await lab.manager.delete(lab.there, ends.containerId)).exitStatus, 7);
    const kept = [stays.containerId, alone.containerId];
    assert.deepEqual(
      readdirSync(join(lab.directory, 'state', lab.here.namespace)).toSorted(),
      kept.toSorted(),
    );
    assert.deepEqual(
      readdirSync(join(lab.directory, 'root', lab.here.namespace)).toSorted(),
      kept.toSorted(),
    );
    for (const containerId of kept) assert.equal(await lab.remove(lab.here, containerId), 137);
  });

  test('a manager that stops dismisses a shim that holds nothing', async () => {
    const { containerId } = await lab.run(lab.here, ['sleep', '1000']);
    const pid = await lab.shimOf(lab.here, containerId);
    await lab.remove(lab.here, containerId);
    await lab.manager[Symbol.asyncDispose]();
    await until('the shim has left', () => !lab.platform.processes.isAlive(pid));
    assert.ok(lab.heard.all.some(({ topic }) => topic === '/tasks/delete'));
  });
});
