/** The leases service over a real socket, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Leases } from '../wire/gen/containerd/services/leases/v1/leases_pb.js';
import { hello, inside, ServiceFixture } from './service.fixture.ts';

test('leases', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const leases = connection.client(Leases);
  const { lease } = await leases.create({ labels: { a: 'b' } }, inside);
  assert((lease?.id.length ?? 0) > 0);
  await leases.create({ id: 'l1' }, inside);
  await rejectsWith(leases.create({ id: 'l1' }, inside), 'AlreadyExists');
  const resource = { type: 'content', id: hello };
  await leases.addResource({ id: 'l1', resource }, inside);
  await rejectsWith(leases.addResource({ id: 'l1' }, inside), 'InvalidArgument');
  await rejectsWith(
    leases.addResource({ id: 'l1', resource: { type: 'zz', id: 'x' } }, inside),
    'Unimplemented',
  );
  await rejectsWith(
    leases.addResource({ id: 'l1', resource: { type: 'snapshots', id: 'x' } }, inside),
    'InvalidArgument',
  );
  const listed = (await leases.listResources({ id: 'l1' }, inside)).resources;
  assert.deepEqual(
    listed.map(({ type, id }) => ({ type, id })),
    [resource],
  );
  await rejectsWith(leases.delete({ id: '' }, inside), 'NotFound');
  await leases.delete({ id: 'l1' }, inside);
  await rejectsWith(leases.listResources({ id: 'l1' }, inside), 'NotFound');
});
