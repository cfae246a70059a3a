import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withLease } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import {
  parseContainerId,
  parseImageName,
  parseIngestRef,
  parseNamespace,
  parseSandboxId,
  parseSnapshotKey,
} from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { putContent } from '../content/content-store.suite.ts';
import { newContainer, newImage } from './samples.fixture.ts';
import { StoreFixture } from './store.fixture.ts';

describe('namespaces', () => {
  test('an absent one has no labels; the first write makes it', async () => {
    await using fixture = await StoreFixture.make();
    const { namespaces, images } = fixture.store;
    const name = parseNamespace('default');
    assert.deepEqual(await namespaces.get(fixture.ctx, name), { name, labels: {} });
    assert.deepEqual(await namespaces.list(fixture.ctx), []);
    await images.create(fixture.ctx, newImage('x'));
    assert.deepEqual(await namespaces.list(fixture.ctx), [{ name, labels: {} }]);
    await rejectsWith(namespaces.create(fixture.ctx, { name, labels: {} }), 'AlreadyExists');
  });

  test('labels change one by one, or all', async () => {
    await using fixture = await StoreFixture.make();
    const { namespaces } = fixture.store;
    const name = parseNamespace('n');
    await namespaces.create(fixture.ctx, { name, labels: { a: '1', 'b.c': '2' } });
    const update = async (labels: Record<string, string>, paths: string[]): Promise<unknown> =>
      (await namespaces.update(fixture.ctx, { name, labels }, paths)).labels;
    assert.deepEqual(await update({ 'b.c': '3' }, ['labels.b.c', 'labels.a']), { 'b.c': '3' });
    assert.deepEqual(await update({ z: '9' }, []), { z: '9' });
    await rejectsWith(update({}, ['labels']), 'InvalidArgument');
    await rejectsWith(update({}, ['name']), 'InvalidArgument');
    assert.equal(fixture.events.published.at(-1)?.namespace, 'n');
  });

  test('one with something in it is not deleted, and says what', async () => {
    await using fixture = await StoreFixture.make();
    const { namespaces, images, content, containers, leases, sandboxes } = fixture.store;
    const name = parseNamespace('default');
    await rejectsWith(namespaces.delete(fixture.ctx, name), 'NotFound');
    await images.create(fixture.ctx, newImage('x'));
    await putContent(content, fixture.ctx, Buffer.from('x'));
    await containers.create(fixture.ctx, newContainer('c'));
    await fixture.store.snapshotter('records').prepare(fixture.ctx, parseSnapshotKey('k'), {});
    await assert.rejects(
      namespaces.delete(fixture.ctx, name),
      /namespace "default" must be empty, but it still has images, blobs, containers, snapshots on records snapshotter$/,
    );
    await images.delete(fixture.ctx, parseImageName('x'), {});
    await content.delete(fixture.ctx, digestOf('x'));
    await containers.delete(fixture.ctx, parseContainerId('c'));
    await fixture.store.snapshotter('records').remove(fixture.ctx, parseSnapshotKey('k'));
    const { id } = await leases.create(fixture.ctx, { labels: {} });
    await (await content.writer(withLease(fixture.ctx, id), { ref: parseIngestRef('r') }))[
      Symbol.asyncDispose
    ]();
    await sandboxes.create(fixture.ctx, {
      id: parseSandboxId('s'),
      runtime: { name: 'r', options: undefined },
      spec: undefined,
      labels: {},
      extensions: {},
      sandboxer: '',
    });
    await namespaces.delete(fixture.ctx, name);
    assert.deepEqual(await namespaces.list(fixture.ctx), []);
    assert.deepEqual(await leases.list(fixture.ctx, []), []);
    assert.deepEqual(await content.listStatuses(fixture.ctx, []), []);
    assert.equal(fixture.events.topics().at(-1), '/namespaces/delete');
  });
});
