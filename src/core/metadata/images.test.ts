import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withLease } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { ImageUpdateSchema } from '../../wire/gen/containerd/events/image_pb.js';
import { putContent } from '../content/content-store.suite.ts';
import { defaultGcThresholds, GcScheduler } from '../gc/scheduler.ts';
import { digest, lastEvent, newImage } from './samples.fixture.ts';
import { StoreFixture } from './store.fixture.ts';

describe('images', () => {
  test('come back as they were made, in their namespace only', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest, sizeBytes: 2 ** 40, annotations: { a: 'b' } };
    const created = await images.create(
      fixture.ctx,
      newImage('x:1', { target, labels: { k: 'v', gone: '' } }),
    );
    assert.deepEqual(await images.get(fixture.ctx, created.name), { ...created, target, labels: { k: 'v' } });
    await rejectsWith(images.get(fixture.within('other'), created.name), 'NotFound');
    await rejectsWith(images.create(fixture.ctx, newImage('x:1')), 'AlreadyExists');
    assert.deepEqual(fixture.events.topics(), ['/images/create']);
    const at = instantOfNs(1_000_000_001n);
    const dated = await images.create(fixture.ctx, newImage('y', { at }));
    assert.deepEqual([dated.createdAt, dated.updatedAt], [at, at]);
  });

  test('refuse what is not a target', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest, sizeBytes: 1 };
    await rejectsWith(
      images.create(fixture.ctx, newImage('x', { target: { ...target, sizeBytes: 0 } })),
      'InvalidArgument',
    );
    await rejectsWith(
      images.create(fixture.ctx, newImage('x', { target: { ...target, mediaType: '' } })),
      'InvalidArgument',
    );
    await rejectsWith(
      images.create(fixture.ctx, newImage('x', { labels: { k: 'v'.repeat(5000) } })),
      'InvalidArgument',
    );
    assert.deepEqual(await images.list(fixture.ctx, []), []);
    assert.deepEqual(fixture.events.published, []);
  });

  test('change by mask', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest, sizeBytes: 1, annotations: { a: '1', b: '2' } };
    const created = await images.create(
      fixture.ctx,
      newImage('x', { target, labels: { a: '1', 'b.c': '2' } }),
    );
    const other = { mediaType: 'n', digest: digestOf('y'), sizeBytes: 2, annotations: { a: '3' } };
    const given = newImage('x', { target: other, labels: { 'b.c': '4', z: '5' } });
    const masked = await images.update(fixture.ctx, given, ['labels.b.c', 'annotations.a']);
    assert.deepEqual(masked.labels, { a: '1', 'b.c': '4' });
    assert.deepEqual(masked.target, { ...target, annotations: { a: '3', b: '2' } });
    assert.ok(masked.updatedAt > created.updatedAt && masked.createdAt === created.createdAt);
    assert.deepEqual(lastEvent(fixture, ImageUpdateSchema).labels, { a: '1', 'b.c': '4' });
    assert.deepEqual((await images.update(fixture.ctx, given, ['target'])).target, other);
    assert.deepEqual((await images.update(fixture.ctx, given, [])).labels, given.labels);
    await rejectsWith(images.update(fixture.ctx, given, ['name']), 'InvalidArgument');
    await rejectsWith(images.update(fixture.ctx, newImage('absent'), []), 'NotFound');
  });

  test('delete only while the target is still the target; sync waits for a collection', async () => {
    await using fixture = await StoreFixture.make();
    const { images, content } = fixture.store;
    const stored = await putContent(content, fixture.ctx, Buffer.from('x'));
    const { name } = await images.create(fixture.ctx, newImage('x'));
    await rejectsWith(images.delete(fixture.ctx, name, { target: digestOf('other') }), 'NotFound');
    await using scheduler = new GcScheduler(
      { runner: fixture.collector, log: silentLogger },
      defaultGcThresholds,
    );
    fixture.store.useCollector(scheduler);
    await images.delete(fixture.ctx, name, { target: stored, sync: true });
    await rejectsWith(content.info(fixture.ctx, stored), 'NotFound');
    await rejectsWith(images.delete(fixture.ctx, name, {}), 'NotFound');
  });

  test('filter by name, target, label and annotation', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const target = { mediaType: 'm', digest: digestOf('2'), sizeBytes: 1, annotations: { 'a.b': 'c' } };
    await images.create(fixture.ctx, newImage('one', { labels: { k: 'v' } }));
    await images.create(fixture.ctx, newImage('two', { target }));
    const names = async (...filters: string[]): Promise<string[]> =>
      (await images.list(fixture.ctx, filters)).map(({ name }) => name);
    assert.deepEqual(await names('name==one'), ['one']);
    assert.deepEqual(await names('target.mediatype==m'), ['two']);
    assert.deepEqual(await names(`target.digest==${digest}`), ['one']);
    assert.deepEqual(await names('annotations.a.b'), ['two']);
    assert.deepEqual(await names('labels.k!=v'), ['two']);
    await rejectsWith(names('name='), 'InvalidArgument');
  });

  test('one that expires joins the lease it is made under', async () => {
    await using fixture = await StoreFixture.make();
    const { images, leases } = fixture.store;
    const { id } = await leases.create(fixture.ctx, { labels: {} });
    const leased = withLease(fixture.ctx, id);
    await images.create(leased, newImage('stays'));
    await images.create(
      leased,
      newImage('expires', { labels: { 'containerd.io/gc.expire': '2999-01-01T00:00:00Z' } }),
    );
    assert.deepEqual(await leases.listResources(fixture.ctx, id), [{ type: 'images', id: 'expires' }]);
  });
});
