/** The namespaces service over a real socket, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Namespaces } from '../wire/gen/containerd/services/namespaces/v1/namespace_pb.js';
import { ServiceFixture } from './service.fixture.ts';

test('namespaces', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const namespaces = connection.client(Namespaces);
  assert.equal((await namespaces.get({ name: '../x' })).namespace?.name, '../x');
  await rejectsWith(namespaces.create({ namespace: { name: '..' } }), 'InvalidArgument', /must match/);
  await rejectsWith(namespaces.create({}), 'InvalidArgument');
  await namespaces.create({ namespace: { name: 'made', labels: { a: 'b' } } });
  await rejectsWith(namespaces.create({ namespace: { name: 'made' } }), 'AlreadyExists', /"made"/);
  await rejectsWith(
    namespaces.update({ namespace: { name: 'made' }, updateMask: { paths: ['labels'] } }),
    'InvalidArgument',
  );
  assert.deepEqual((await namespaces.get({ name: 'made' })).namespace?.labels, { a: 'b' });
  await namespaces.delete({ name: 'made' });
  await rejectsWith(namespaces.delete({ name: 'made' }), 'NotFound');
  await rejectsWith(namespaces.delete({ name: '' }), 'NotFound');
});
