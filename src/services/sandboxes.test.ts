/** The service of sandbox records over a real socket, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Store } from '../wire/gen/containerd/services/sandbox/v1/sandbox_pb.js';
import { inside, ServiceFixture } from './service.fixture.ts';

test('sandbox records', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const store = connection.client(Store);
  await store.create({ sandbox: { sandboxId: 's1', runtime: { name: 'r' }, sandboxer: 'shim' } }, inside);
  assert.equal((await store.get({ sandboxId: 's1' }, inside)).sandbox?.sandboxer, 'shim');
  await rejectsWith(
    store.update({ sandbox: { sandboxId: 's1' }, fields: ['zz'] }, inside),
    'InvalidArgument',
  );
  await store.update({ sandbox: { sandboxId: 's1', labels: { a: 'b' } }, fields: ['labels'] }, inside);
  assert.deepEqual((await store.list({}, inside)).list[0]?.labels, { a: 'b' });
  await store.delete({ sandboxId: 's1' }, inside);
  await rejectsWith(store.get({ sandboxId: '' }, inside), 'NotFound');
});
