/** The introspection service over a real socket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PluginRecord } from '../core/plugins/graph.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { Introspection } from '../wire/gen/containerd/services/introspection/v1/introspection_pb.js';
import { bytes, plugins, ServiceFixture } from './service.fixture.ts';

test('introspection', async () => {
  await using services = await ServiceFixture.make();
  const { connection } = services;
  const introspection = connection.client(Introspection);
  const { uuid, pid, pidns } = await introspection.server({});
  assert.deepEqual([uuid, pid, pidns], ['a-uuid', 7n, 4026531836n]);
  const listed = (await introspection.plugins({ filters: ['id==btrfs'] })).plugins;
  assert.equal(listed.length, 1);
  assert.equal(listed[0]?.initErr?.message, 'no btrfs: skip plugin');
  assert.equal((await introspection.plugins({})).plugins.length, 2);
  await rejectsWith(introspection.pluginInfo({ type: 'a', id: 'b' }), 'NotFound');
  const options = { typeUrl: 'x', value: bytes('') };
  const { type, id } = plugins[1] as PluginRecord;
  assert.equal((await introspection.pluginInfo({ type, id })).plugin?.id, 'btrfs');
  await rejectsWith(introspection.pluginInfo({ type, id, options }), 'FailedPrecondition');
  await rejectsWith(
    introspection.pluginInfo({ type: 'io.containerd.content.v1', id: 'content', options }),
    'Unimplemented',
  );
});
