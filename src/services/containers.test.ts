/** The containers service over a real socket, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Containers } from '../wire/gen/containerd/services/containers/v1/containers_pb.js';
import { all, bytes, inside, ServiceFixture } from './service.fixture.ts';

test('containers', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const containers = connection.client(Containers);
  const spec = { typeUrl: 'some.Spec', value: bytes('{}') };
  const container = { id: 'c1', runtime: { name: 'r' }, spec, labels: { a: 'b' }, extensions: { e: spec } };
  await rejectsWith(containers.get({ id: 'c1' }), 'FailedPrecondition', /^namespace is required$/);
  await rejectsWith(containers.get({ id: '../x' }, inside), 'NotFound');
  await rejectsWith(
    containers.create({ container: { ...container, id: '../x' } }, inside),
    'InvalidArgument',
  );
  const created = (await containers.create({ container }, inside)).container;
  assert.equal(Buffer.from(created?.spec?.value ?? []).toString(), '{}');
  assert.equal(created?.extensions['e']?.typeUrl, 'some.Spec');
  assert(created?.createdAt !== undefined && created.createdAt.seconds > 0n);
  await rejectsWith(containers.create({ container }, inside), 'AlreadyExists');
  const mask = { paths: ['labels.x'] };
  const changed = { id: 'c1', labels: { x: 'y', ignored: 'z' } };
  const updated = (await containers.update({ container: changed, updateMask: mask }, inside)).container;
  assert.deepEqual(updated?.labels, { a: 'b', x: 'y' });
  await rejectsWith(
    containers.update({ container: changed, updateMask: { paths: ['zz'] } }, inside),
    'InvalidArgument',
  );
  const listed = (await containers.list({ filters: ['labels.x==y'] }, inside)).containers;
  assert.deepEqual(
    listed.map(({ id }) => id),
    ['c1'],
  );
  assert.equal((await all(containers.listStream({}, inside))).length, 1);
  await rejectsWith(containers.list({ filters: ['a=='] }, inside), 'InvalidArgument');
  await containers.delete({ id: 'c1' }, inside);
  await rejectsWith(containers.delete({ id: 'c1' }, inside), 'NotFound');
});
