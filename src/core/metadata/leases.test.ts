import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type ErrorCode } from '../../base/errors.ts';
import { parseLeaseId } from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { digest } from './samples.fixture.ts';
import { StoreFixture } from './store.fixture.ts';

describe('leases', () => {
  test('take resources of known types, once', async () => {
    await using fixture = await StoreFixture.make();
    const { leases } = fixture.store;
    const { id } = await leases.create(fixture.ctx, { id: parseLeaseId('l'), labels: { a: 'b' } });
    await rejectsWith(leases.create(fixture.ctx, { id, labels: {} }), 'AlreadyExists');
    const resources = [
      { type: 'content', id: digest },
      { type: 'images', id: 'i' },
      { type: 'ingests', id: 'r' },
      { type: 'snapshots/records', id: 'k' },
    ];
    for (const resource of [...resources, ...resources]) await leases.addResource(fixture.ctx, id, resource);
    assert.deepEqual(await leases.listResources(fixture.ctx, id), resources);
    await leases.deleteResource(fixture.ctx, id, { type: 'images', id: 'i' });
    assert.equal((await leases.listResources(fixture.ctx, id)).length, 3);
    const wrong: readonly (readonly [string, string, ErrorCode])[] = [
      ['content', 'not a digest', 'InvalidArgument'],
      ['content/x', digest, 'InvalidArgument'],
      ['snapshots', 'k', 'InvalidArgument'],
      ['snapshots/', 'k', 'InvalidArgument'],
      ['images', '', 'InvalidArgument'],
      ['streams', 'k', 'Unimplemented'],
    ];
    for (const [type, resource, code] of wrong)
      await rejectsWith(leases.addResource(fixture.ctx, id, { type, id: resource }), code);
    await rejectsWith(
      leases.addResource(fixture.ctx, parseLeaseId('absent'), { type: 'images', id: 'i' }),
      'NotFound',
    );
  });

  test('get a name when none is given; filters; deletion takes the resources along', async () => {
    await using fixture = await StoreFixture.make();
    const { leases } = fixture.store;
    const one = await leases.create(fixture.ctx, { labels: { a: 'b' } });
    const two = await leases.create(fixture.ctx, { labels: {} });
    assert.notEqual(one.id, two.id);
    assert.deepEqual(await leases.list(fixture.ctx, ['labels.a==b']), [one]);
    assert.deepEqual(await leases.list(fixture.ctx, [`id==${two.id}`]), [two]);
    await leases.addResource(fixture.ctx, one.id, { type: 'images', id: 'i' });
    await leases.delete(fixture.ctx, one.id, {});
    await rejectsWith(leases.listResources(fixture.ctx, one.id), 'NotFound');
    await leases.create(fixture.ctx, { id: one.id, labels: {} });
    assert.deepEqual(await leases.listResources(fixture.ctx, one.id), []);
    await rejectsWith(leases.delete(fixture.ctx, two.id, { sync: true }), 'FailedPrecondition');
  });
});
