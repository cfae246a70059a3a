/** The diff service over a real socket: which differ is asked. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ProxyDiffer } from '../core/diff/proxy-differ.ts';
import { RemotePlugin } from '../core/plugins/remote-plugin.ts';
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

test('diff: a proxy differ hands payloads on', async () => {
  await using services = await ServiceFixture.make();
  const { ctx, directory } = services.fixture;
  await using remote = new RemotePlugin({ plugin: 'differ', address: join(directory, 'grpc.sock') });
  const layer = { digest: hello, sizeBytes: 5, mediaType: 'x/y' };
  const payloads = new Map([['decoder', { typeUrl: 'some.Type', value: Buffer.from('key') }]]);
  const applied = await new ProxyDiffer({ remote }).apply(ctx, layer, [], { payloads });
  assert.deepEqual(applied.annotations, { decoder: 'some.Type key' });
});
