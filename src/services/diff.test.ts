/** The diff service over a real socket: which differ is asked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Diff } from '../wire/gen/containerd/services/diff/v1/diff_pb.js';
import { hello, inside, ServiceFixture } from './service.fixture.ts';

test('diff: the first differ that takes it', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const diff = connection.client(Diff);
  const layer = { digest: hello, size: 5n, mediaType: 'x/y' };
  const { applied } = await diff.apply({ diff: layer }, inside);
  assert.equal(applied?.mediaType, 'application/vnd.oci.image.layer.v1.tar');
  assert.equal((await diff.diff({ mediaType: 'z' }, inside)).diff?.mediaType, 'z');
  await rejectsWith(diff.apply({}, inside), 'InvalidArgument');
  await rejectsWith(diff.diff({}), 'FailedPrecondition');
});

test('diff: payloads reach the differ, by the processor that they are for', async () => {
  await using services = await ServiceFixture.make();
  const diff = services.connection.client(Diff);
  const layer = { digest: hello, size: 5n, mediaType: 'x/y' };
  const payloads = { decoder: { typeUrl: 'some.Type', value: Buffer.from('key') } };
  const { applied } = await diff.apply({ diff: layer, payloads }, inside);
  assert.deepEqual(applied?.annotations, { decoder: 'some.Type key' });
});
