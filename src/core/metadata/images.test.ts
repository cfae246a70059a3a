import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withLease } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { silentLogger } from '../../base/logger.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { imagesOverTheWire } from '../../testing/remote-stores.ts';
import { ImageUpdateSchema } from '../../wire/gen/containerd/events/image_pb.js';
import { putContent } from '../content/content-store.suite.ts';
import { defaultGcThresholds, GcScheduler } from '../gc/scheduler.ts';
import { imageStoreSuite } from '../images/image-store.suite.ts';
import { lastEvent, newImage } from './samples.fixture.ts';
import { StoreFixture } from './store.fixture.ts';

imageStoreSuite('metadata', async () => {
  const fixture = await StoreFixture.make();
  return {
    images: fixture.store.images,
    ctx: fixture.ctx,
    otherCtx: fixture.within('other'),
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
});

imageStoreSuite('metadata over the wire', async () => {
  await using cleanup = new AsyncDisposableStack();
  const fixture = cleanup.use(await StoreFixture.make());
  const { remote } = cleanup.use(await imagesOverTheWire(fixture.store.images));
  const held = cleanup.move();
  return {
    images: remote,
    ctx: fixture.ctx,
    otherCtx: fixture.within('other'),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
});

describe('images', () => {
  test('are announced when they are made and changed, and not when they are refused', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    await images.create(fixture.ctx, newImage('x', { labels: { a: '1', 'b.c': '2' } }));
    await rejectsWith(images.create(fixture.ctx, newImage('x')), 'AlreadyExists');
    assert.deepEqual(fixture.events.topics(), ['/images/create']);
    await images.update(fixture.ctx, newImage('x', { labels: { 'b.c': '4', z: '5' } }), ['labels.b.c']);
    await rejectsWith(images.update(fixture.ctx, newImage('x'), ['name']), 'InvalidArgument');
    assert.deepEqual(lastEvent(fixture, ImageUpdateSchema).labels, { a: '1', 'b.c': '4' });
    assert.deepEqual(fixture.events.topics(), ['/images/create', '/images/update']);
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
