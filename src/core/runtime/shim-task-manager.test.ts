/** Calls of the task manager over real shims and runc (needs root): refusals, failures half way, callers that leave. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { withSignal } from '../../base/context.ts';
import { parseContainerId } from '../../base/identifiers.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { needsRoot } from '../../testing/needs-root.ts';
import { until } from '../../testing/until.ts';
import { ManagerLab } from './manager-lab.fixture.ts';

describe('tasks over shims and runc, as root', { skip: needsRoot('it runs containers by runc') }, () => {
  let lab: ManagerLab;

  before(async () => {
    lab = await ManagerLab.open('manager-test');
  });
  after(() => lab[Symbol.asyncDispose]());

  test('words of containerd for what is there already, and for what is not', async () => {
    const { containerId } = await lab.run(lab.here, ['sleep', '1000']);
    await assert.rejects(lab.manager.create(lab.here, { ...lab.record(lab.here, ['true']), containerId }), {
      code: 'AlreadyExists',
      message: `task ${containerId}`,
    });
    await lab.remove(lab.here, containerId);
    const absent = { ...lab.record(lab.here, ['true']), containerId: parseContainerId('absent') };
    await assert.rejects(lab.manager.create(lab.here, absent), {
      code: 'NotFound',
      message: `container "absent" in namespace "${lab.here.namespace}"`,
    });
    await assert.rejects(
      lab.manager.create(
        lab.here,
        lab.record(lab.here, ['true'], { runtime: { name: 'io.containerd.absent.v9' } }),
      ),
      {
        code: 'Unknown',
        message:
          /^failed to start shim: failed to resolve runtime path: runtime "io\.containerd\.absent\.v9"/,
      },
    );
  });

  test('a create that runc refuses leaves nothing, and the shim goes on', async () => {
    const request = lab.record(lab.here, ['no-such-program']);
    await assert.rejects(lab.manager.create(lab.here, request), {
      code: 'Unknown',
      message:
        /^failed to create shim task: OCI runtime create failed: runc create failed: .*no-such-program/s,
    });
    assert.ok(!existsSync(lab.bundleOf(lab.here, request.containerId)));
    assert.deepEqual(await lab.manager.list(lab.here), []);
    await lab.remove(lab.here, (await lab.run(lab.here, ['sleep', '1000'])).containerId);
  });

  test('a caller that leaves during a create leaves no container behind', async () => {
    const request = lab.record(lab.here, ['sleep', '1000']);
    const left = new AbortController();
    const creating = lab.manager.create(withSignal(lab.here, left.signal), request);
    await until(
      'the shim is at it',
      () => existsSync(join(lab.bundleOf(lab.here, request.containerId), 'bootstrap.json')),
      { everyMs: 1 },
    );
    left.abort();
    await assert.rejects(creating, { code: 'Canceled' });
    assert.deepEqual(await lab.manager.list(lab.here), []);
    assert.ok(!existsSync(lab.bundleOf(lab.here, request.containerId)));
    const { pid } = await lab.manager.create(lab.here, request);
    assert.ok(pid > 0);
    await lab.manager.delete(lab.here, request.containerId);
  });

  test('a delete whose caller leaves comes to its end', async () => {
    const { containerId } = await lab.run(lab.here, ['true']);
    await lab.manager.wait(lab.here, { containerId });
    const left = new AbortController();
    const deleting = lab.manager.delete(withSignal(lab.here, left.signal), containerId);
    left.abort();
    await assert.rejects(deleting, { code: 'Canceled' });
    await until('it has gone', () => !existsSync(lab.bundleOf(lab.here, containerId)));
    await assert.rejects(lab.manager.state(lab.here, { containerId }), { code: 'NotFound' });
  });

  test('any number of waiters hear one end, and one that left hears none', async () => {
    const { containerId } = await lab.run(lab.here, ['sleep', '1000']);
    const left = new AbortController();
    const gone = lab.manager.wait(withSignal(lab.here, left.signal), { containerId });
    const waiting = Array.from({ length: 50 }, () => lab.manager.wait(lab.here, { containerId }));
    left.abort();
    await assert.rejects(gone, { code: 'Canceled' });
    await lab.manager.kill(lab.here, { containerId }, SIGKILL, { all: false });
    for (const end of await Promise.all(waiting)) assert.equal(end.exitStatus, 137);
    await lab.manager.delete(lab.here, containerId);
  });
});
