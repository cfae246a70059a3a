/** The snapshots service over a real socket, with the odd cases as containerd answers them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { Kind, Snapshots } from '../wire/gen/containerd/services/snapshots/v1/snapshots_pb.js';
import { all, inside, ServiceFixture } from './service.fixture.ts';

test('snapshots', async () => {
  await using services = await ServiceFixture.make();
  const { fixture, connection } = services;
  const snapshots = connection.client(Snapshots);
  const snapshotter = 'records';
  await rejectsWith(snapshots.prepare({ key: 'k' }, inside), 'InvalidArgument', /missing/);
  await rejectsWith(
    snapshots.prepare({ snapshotter: 'zz', key: 'k' }, inside),
    'InvalidArgument',
    /not loaded: zz/,
  );
  await rejectsWith(snapshots.prepare({ snapshotter, key: 'k' }), 'FailedPrecondition');
  await rejectsWith(snapshots.stat({ snapshotter, key: '' }, inside), 'NotFound');
  const { mounts } = await snapshots.prepare({ snapshotter, key: 'k' }, inside);
  assert.equal(mounts[0]?.type, 'bind');
  await rejectsWith(snapshots.prepare({ snapshotter, key: 'k' }, inside), 'AlreadyExists');
  await snapshots.commit({ snapshotter, name: 'n', key: 'k', labels: { a: 'b' } }, inside);
  const { info } = await snapshots.stat({ snapshotter, key: 'n' }, inside);
  assert.deepEqual([info?.name, info?.kind, info?.labels], ['n', Kind.COMMITTED, { a: 'b' }]);
  for (let index = 0; index < 120; index += 1)
    await snapshots.view({ snapshotter, key: `v${index}`, parent: 'n' }, inside);
  const blocks = await all(snapshots.list({ snapshotter }, inside));
  assert.deepEqual(
    blocks.map((block) => block.info.length),
    [100, 21],
  );
  await rejectsWith(snapshots.remove({ snapshotter, key: 'n' }, inside), 'FailedPrecondition');
  await rejectsWith(snapshots.mounts({ snapshotter, key: 'n' }, inside), 'FailedPrecondition');
  await rejectsWith(snapshots.update({ snapshotter }, inside), 'InvalidArgument');
  assert.equal((await snapshots.usage({ snapshotter, key: 'n' }, inside)).inodes, 1n);
  await snapshots.cleanup({ snapshotter }, inside);
  assert.equal(fixture.backend.cleanups, 1);
});
