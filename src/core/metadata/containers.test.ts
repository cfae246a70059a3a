import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseContainerId } from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import {
  ContainerCreateSchema,
  ContainerUpdateSchema,
} from '../../wire/gen/containerd/events/container_pb.js';
import { lastEvent, newContainer, spec } from './samples.fixture.ts';
import { StoreFixture } from './store.fixture.ts';

describe('containers', () => {
  test('come back whole, and say so in the event', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    const created = await containers.create(
      fixture.ctx,
      newContainer('c', { extensions: { __proto__x: spec, e: spec }, sandbox: 's', labels: { a: 'b' } }),
    );
    const found = await containers.get(fixture.ctx, created.id);
    assert.deepEqual(
      { ...found, spec: undefined, extensions: {}, runtime: {} },
      { ...created, spec: undefined, extensions: {}, runtime: {} },
    );
    assert.deepEqual(Buffer.from(found.spec?.value ?? []), Buffer.from(spec.value));
    assert.deepEqual(Object.keys(found.extensions), ['__proto__x', 'e']);
    assert.deepEqual(Buffer.from(found.runtime.options?.value ?? []), Buffer.from([7]));
    const event = lastEvent(fixture, ContainerCreateSchema);
    assert.deepEqual([event.id, event.image, event.runtime?.name], ['c', 'img', 'io.containerd.runc.v2']);
    assert.equal(event.runtime?.options?.typeUrl, 'o');
    await rejectsWith(containers.create(fixture.ctx, newContainer('c')), 'AlreadyExists');
  });

  test('need a runtime, a spec, and a snapshotter for a key', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    for (const wrong of [
      { runtime: { name: '', options: undefined } },
      { spec: undefined },
      { snapshotter: '' },
      { extensions: { '': spec } },
    ])
      await rejectsWith(containers.create(fixture.ctx, newContainer('c', wrong)), 'InvalidArgument');
  });

  test('change by mask, and without one only what may change', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    await containers.create(fixture.ctx, newContainer('c', { labels: { a: '1' }, extensions: { x: spec } }));
    const given = newContainer('c', {
      labels: { b: '2' },
      snapshotKey: 'new',
      image: 'other',
      extensions: { y: spec },
    });
    const one = await containers.update(fixture.ctx, given, [
      'snapshotkey',
      'labels.b',
      'extensions.y',
      'extensions.x',
    ]);
    assert.deepEqual([one.snapshotKey, one.image, one.labels], ['new', 'img', { a: '1', b: '2' }]);
    assert.deepEqual(Object.keys(one.extensions), ['y']);
    assert.equal(lastEvent(fixture, ContainerUpdateSchema).snapshotKey, 'new');
    const all = await containers.update(fixture.ctx, given, []);
    assert.deepEqual([all.image, all.labels], ['other', { b: '2' }]);
    await rejectsWith(containers.update(fixture.ctx, { ...given, snapshotter: 'n' }, []), 'InvalidArgument');
    await rejectsWith(containers.update(fixture.ctx, given, ['runtime']), 'InvalidArgument');
    await rejectsWith(
      containers.update(fixture.ctx, { ...given, spec: undefined }, ['spec']),
      'InvalidArgument',
    );
    await rejectsWith(containers.update(fixture.ctx, newContainer('absent'), []), 'NotFound');
  });

  test('filter, and delete', async () => {
    await using fixture = await StoreFixture.make();
    const { containers } = fixture.store;
    for (const id of ['a', 'b']) await containers.create(fixture.ctx, newContainer(id, { labels: { id } }));
    const ids = async (...filters: string[]): Promise<string[]> =>
      (await containers.list(fixture.ctx, filters)).map(({ id }) => id);
    assert.deepEqual(await ids('id==a', 'labels.id==b'), ['a', 'b']);
    assert.deepEqual(await ids('runtime.name==io.containerd.runc.v2,id!=a'), ['b']);
    await containers.delete(fixture.ctx, parseContainerId('a'));
    assert.deepEqual(await ids(), ['b']);
    await rejectsWith(containers.delete(fixture.ctx, parseContainerId('a')), 'NotFound');
    assert.equal(fixture.events.topics().at(-1), '/containers/delete');
  });
});
