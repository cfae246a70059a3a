/** The images service over a real socket, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Images } from '../wire/gen/containerd/services/images/v1/images_pb.js';
import { absent, hello, inside, ServiceFixture } from './service.fixture.ts';

test('images', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const images = connection.client(Images);
  const target = { digest: hello, size: 5n, mediaType: 'a/b', annotations: { q: 'r' } };
  await rejectsWith(images.create({ image: { name: 'x' } }, inside), 'InvalidArgument');
  await rejectsWith(images.create({ image: { name: '', target } }, inside), 'InvalidArgument');
  await rejectsWith(
    images.create({ image: { name: 'x', target: { ...target, digest: 'md5:1' } } }, inside),
    'InvalidArgument',
  );
  await rejectsWith(
    images.create({ image: { name: 'x', target: { ...target, size: 0n } } }, inside),
    'InvalidArgument',
  );
  const epoch = { seconds: 1000n, nanos: 5 };
  const { image } = await images.create(
    { image: { name: 'x', target, labels: { a: 'b', e: '' } }, sourceDateEpoch: epoch },
    inside,
  );
  assert.deepEqual(image?.labels, { a: 'b' });
  assert.deepEqual([image?.createdAt?.seconds, image?.createdAt?.nanos], [1000n, 5]);
  assert.deepEqual(image?.target?.annotations, { q: 'r' });
  await rejectsWith(images.create({ image: { name: 'x', target } }, inside), 'AlreadyExists');
  await rejectsWith(images.get({ name: '' }, inside), 'NotFound');
  await rejectsWith(images.delete({ name: 'x', target: { ...target, digest: absent } }, inside), 'NotFound');
  await rejectsWith(images.delete({ name: 'x', target: { ...target, digest: 'zz' } }, inside), 'NotFound');
  await images.delete({ name: 'x', target }, inside);
  assert.equal((await images.list({}, inside)).images.length, 0);
});
