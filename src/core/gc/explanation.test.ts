import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { formatInstant } from '../../base/time.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { explain } from './explanation.ts';
import { container, digestFor, image, put } from './labelled-objects.fixture.ts';

const key = parseSnapshotKey;
const createImage = (fixture: StoreFixture, name: string, content: string, labels: Labels = {}) =>
  fixture.store.images.create(fixture.ctx, image(name, content, labels));

/** The one explanation, as lines. */
async function why(fixture: StoreFixture, name: string, kind?: string): Promise<string[]> {
  const [explanation, ...more] = await explain(fixture.store, fixture.ctx, { name, kind });
  assert.deepEqual(more, []);
  return (explanation?.chain ?? []).map(
    ({ object, why: reason }) => `${object.kind} ${object.id}: ${reason}`,
  );
}

describe('explanations of collection', () => {
  test('the chain from an image to a layer, and from a config to the parent of a snapshot', async () => {
    await using fixture = await StoreFixture.make();
    const snapshotter = fixture.store.snapshotter('records');
    await snapshotter.prepare(fixture.ctx, key('a'), {});
    await snapshotter.commit(fixture.ctx, key('base'), key('a'), {});
    await snapshotter.prepare(fixture.ctx, key('b'), { parent: key('base') });
    await snapshotter.commit(fixture.ctx, key('top'), key('b'), {});
    await put(fixture, 'config', { 'containerd.io/gc.ref.snapshot.records': 'top' });
    await put(fixture, 'manifest', { 'containerd.io/gc.ref.content.config': digestFor('config') });
    await createImage(fixture, 'app', 'manifest');
    assert.deepEqual(await why(fixture, 'base'), [
      'image app: an image',
      `content ${digestFor('manifest')}: the target of the image`,
      `content ${digestFor('config')}: label containerd.io/gc.ref.content.config`,
      'snapshot records/top: label containerd.io/gc.ref.snapshot.records',
      'snapshot records/base: the parent of the snapshot',
    ]);
    assert.deepEqual(await why(fixture, 'records/base'), await why(fixture, 'base'));
    assert.equal((await why(fixture, digestFor('config').slice(7, 15))).length, 3);
    assert.deepEqual(await why(fixture, 'app'), ['image app: an image']);
  });

  test('what nothing keeps has no chain, what is not there is NotFound', async () => {
    await using fixture = await StoreFixture.make();
    const digest = await put(fixture, 'garbage');
    assert.deepEqual(await why(fixture, digest), []);
    await assert.rejects(why(fixture, 'nothing'), (error) => hasCode(error, 'NotFound'));
    await assert.rejects(why(fixture, digest, 'image'), (error) => hasCode(error, 'NotFound'));
    await assert.rejects(why(fixture, digest, 'planet'), (error) => hasCode(error, 'InvalidArgument'));
    await assert.rejects(why(fixture, ''), (error) => hasCode(error, 'InvalidArgument'));
    const other = explain(fixture.store, fixture.within('other'), { name: digest, kind: undefined });
    await assert.rejects(other, (error) => hasCode(error, 'NotFound'));
  });

  test('all roots are told, those that stay first; flat leases, back references, conditions', async () => {
    await using fixture = await StoreFixture.make();
    const { leases, containers } = fixture.store;
    const expiresAt = '2999-01-01T00:00:00.000000000Z';
    await put(fixture, 'child');
    await put(fixture, 'parent', { 'containerd.io/gc.ref.content': digestFor('child') });
    await put(fixture, 'back', { 'containerd.io/gc.bref.container/x': 'c1' });
    const lease = await leases.create(fixture.ctx, {
      labels: { 'containerd.io/gc.flat': 'x', 'containerd.io/gc.expire': expiresAt },
    });
    await leases.addResource(fixture.ctx, lease.id, { type: 'content', id: digestFor('parent') });
    await containers.create(fixture.ctx, container('c1', 'none'));
    assert.deepEqual(await why(fixture, digestFor('child')), []);
    assert.deepEqual(await why(fixture, digestFor('back')), [
      'container c1: a container',
      `content ${digestFor('back')}: label containerd.io/gc.bref.container/x of what it keeps`,
    ]);
    const [held] = await explain(fixture.store, fixture.ctx, { name: digestFor('parent'), kind: 'content' });
    assert.deepEqual(
      held?.roots.map((root) => root.expiresAt && formatInstant(root.expiresAt)),
      [expiresAt],
    );
    await createImage(fixture, 'stays', 'parent');
    const [both] = await explain(fixture.store, fixture.ctx, { name: digestFor('parent'), kind: 'content' });
    assert.deepEqual(
      both?.roots.map(({ object }) => object.kind),
      ['image', 'lease'],
    );
    assert.equal(both?.chain[0]?.object.id, 'stays');
  });

  test('explanations agree with what a collection leaves', async () => {
    await using fixture = await StoreFixture.make();
    const names = Array.from({ length: 30 }, (_, nth) => `c${nth}`);
    for (const [nth, name] of names.entries())
      await put(
        fixture,
        name,
        nth > 0 ? { 'containerd.io/gc.ref.content.x': digestFor(`c${(nth * 7) % 30}`) } : {},
      );
    for (const nth of [3, 11]) await createImage(fixture, `i${nth}`, `c${nth}`);
    const kept: string[] = [];
    for (const name of names)
      if ((await why(fixture, digestFor(name), 'content')).length > 0) kept.push(digestFor(name));
    await fixture.collector.run(fixture.ctx);
    const left = (await Array.fromAsync(fixture.store.content.list(fixture.ctx, []))).map(
      ({ digest }) => digest,
    );
    assert.deepEqual(left.toSorted(), kept.toSorted());
    assert.ok(kept.length > 2 && kept.length < 30);
  });
});
