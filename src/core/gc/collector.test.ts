import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withLease } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { failedPrecondition } from '../../base/errors.ts';
import {
  parseSnapshotKey as key,
  parseImageName,
  parseIngestRef,
  parseSandboxId,
} from '../../base/identifiers.ts';
import { putContent } from '../content/content-store.suite.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import {
  blobs,
  bytesOf,
  commitSnapshot,
  container,
  contents,
  digestFor,
  image,
  past,
  put,
  snapshots,
} from './labelled-objects.fixture.ts';

const future = '2999-01-01T00:00:00.5+02:00';

describe('collector', () => {
  test('an image keeps its tree of labels; the rest goes, bytes included', async () => {
    await using fixture = await StoreFixture.make();
    await put(fixture, 'layer');
    await put(fixture, 'config', { 'containerd.io/gc.ref.snapshot.records': 'top' });
    await put(fixture, 'manifest', {
      'containerd.io/gc.ref.content.config': digestFor('config'),
      'containerd.io/gc.ref.content.l.0': digestFor('layer'),
    });
    await put(fixture, 'garbage');
    await commitSnapshot(fixture, 'base');
    await commitSnapshot(fixture, 'top', 'base');
    await commitSnapshot(fixture, 'left');
    await commitSnapshot(fixture, 'leaf of left', 'left');
    await fixture.store.images.create(fixture.ctx, image('app', 'manifest'));
    fixture.events.published.length = 0;
    await fixture.collector.run(fixture.ctx);
    const kept = ['layer', 'config', 'manifest'].map(digestFor).toSorted();
    assert.deepEqual((await contents(fixture)).toSorted(), kept);
    assert.deepEqual((await blobs(fixture)).toSorted(), kept);
    assert.deepEqual(await snapshots(fixture), ['base', 'top']);
    assert.equal(fixture.backend.keys().length, 2);
    assert.equal(fixture.backend.cleanups, 1);
    assert.deepEqual(fixture.events.topics(), ['/snapshot/remove', '/snapshot/remove']);

    await fixture.store.images.delete(fixture.ctx, parseImageName('app'), {});
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual([await contents(fixture), await blobs(fixture), await snapshots(fixture)], [[], [], []]);
    assert.deepEqual(fixture.backend.keys(), []);
  });

  test('leases keep what they list, flat ones nothing beyond it but parents; expired ones go', async () => {
    await using fixture = await StoreFixture.make();
    const { leases } = fixture.store;
    const flat = await leases.create(fixture.ctx, {
      labels: { 'containerd.io/gc.flat': 'x', 'containerd.io/gc.expire': future },
    });
    const expired = await leases.create(fixture.ctx, { labels: { 'containerd.io/gc.expire': past } });
    await put(fixture, 'child');
    await put(fixture, 'parent', { 'containerd.io/gc.ref.content': digestFor('child') });
    await put(fixture, 'late');
    await commitSnapshot(fixture, 'base');
    await commitSnapshot(fixture, 'top', 'base');
    await leases.addResource(fixture.ctx, flat.id, { type: 'content', id: digestFor('parent') });
    await leases.addResource(fixture.ctx, flat.id, { type: 'snapshots/records', id: 'top' });
    await leases.addResource(fixture.ctx, expired.id, { type: 'content', id: digestFor('late') });
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(await contents(fixture), [digestFor('parent')]);
    assert.deepEqual(await snapshots(fixture), ['base', 'top']);
    assert.deepEqual(
      (await leases.list(fixture.ctx, [])).map(({ id }) => id),
      [flat.id],
    );
  });

  test('an expired image goes with its event, unless something refers to it', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const expired = { 'containerd.io/gc.expire': past };
    await images.create(fixture.ctx, image('gone', 'x', expired));
    await images.create(fixture.ctx, image('held', 'x', expired));
    await images.create(fixture.ctx, image('holder', 'x', { 'containerd.io/gc.ref.image.a': 'held' }));
    await images.create(fixture.ctx, image('broken', 'x', { 'containerd.io/gc.expire': 'tomorrow' }));
    fixture.events.published.length = 0;
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(
      (await images.list(fixture.ctx, [])).map(({ name }) => name),
      ['broken', 'held', 'holder'],
    );
    assert.deepEqual(fixture.events.topics(), ['/images/delete']);
    assert.equal(fixture.events.published[0]?.namespace, 'default');
  });

  test('containers, sandboxes, roots, back references and conditions', async () => {
    await using fixture = await StoreFixture.make();
    const { containers, sandboxes } = fixture.store;
    const old = new Date(Date.now() - 3_600_000).toISOString();
    await put(fixture, 'rooted', { 'containerd.io/gc.root': 'x' });
    await put(fixture, 'of sandbox');
    await put(fixture, 'back', { 'containerd.io/gc.bref.container': 'c1' });
    await put(fixture, 'back to nobody', { 'containerd.io/gc.bref.container': 'c2' });
    await put(fixture, 'fresh', {
      'containerd.io/gc.root': 'x',
      'containerd.io/gc.cond.snapshot.records': 'usedat>2h,usedat<1h30m|used',
    });
    await put(fixture, 'stale', {
      'containerd.io/gc.root': 'x',
      'containerd.io/gc.cond.snapshot.records': 'usedat<30m|unused',
    });
    for (const name of ['used', 'unused'])
      await commitSnapshot(fixture, name, undefined, { 'containerd.io/gc.cond.value-usedat': old });
    await fixture.store.snapshotter('records').prepare(fixture.ctx, key('rw'), {});
    await containers.create(fixture.ctx, container('c1', 'rw'));
    await sandboxes.create(fixture.ctx, {
      id: parseSandboxId('s1'),
      runtime: { name: 'r', options: undefined },
      spec: undefined,
      labels: { 'containerd.io/gc.ref.content/x': digestFor('of sandbox') },
      extensions: {},
      sandboxer: '',
    });
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(
      (await contents(fixture)).toSorted(),
      ['rooted', 'of sandbox', 'back', 'fresh', 'stale'].map(digestFor).toSorted(),
    );
    assert.deepEqual(await snapshots(fixture), ['rw', 'used']);
  });

  test('an ingest lives until its time or with its lease, and keeps what it expects', async () => {
    await using fixture = await StoreFixture.make();
    const { content, leases } = fixture.store;
    const { id } = await leases.create(fixture.ctx, { labels: {} });
    const leased = withLease(fixture.ctx, id);
    await (await content.writer(fixture.ctx, { ref: parseIngestRef('plain') }))[Symbol.asyncDispose]();
    await (await content.writer(leased, { ref: parseIngestRef('leased') }))[Symbol.asyncDispose]();
    const other = fixture.within('other');
    await putContent(content, other, bytesOf('shared'));
    await using complete = await content.writer(fixture.ctx, {
      ref: parseIngestRef('complete'),
      expected: digestFor('shared'),
    });
    await content.delete(other, digestFor('shared'));
    await fixture.collector.run(fixture.ctx);
    const refs = async (): Promise<string[]> =>
      (await content.listStatuses(fixture.ctx, [])).map(({ ref }) => ref);
    assert.deepEqual(await refs(), ['complete', 'leased', 'plain']);
    assert.equal(await complete.commit(fixture.ctx, {}), digestFor('shared'));
    await leases.delete(fixture.ctx, id, {});
    await fixture.database.write((sql) =>
      sql.run('UPDATE ingests SET expires_at = 1 WHERE ref = ?', 'plain'),
    );
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(await refs(), []);
    assert.deepEqual(await blobs(fixture), []);
  });

  test('one snapshot that cannot be removed stops neither the others nor the next run', async () => {
    await using fixture = await StoreFixture.make();
    const snapshotter = fixture.store.snapshotter('records');
    for (const name of ['a', 'b']) await snapshotter.prepare(fixture.ctx, key(name), {});
    fixture.backend.failures.set('remove', failedPrecondition('busy'));
    await fixture.collector.run(fixture.ctx);
    assert.equal(fixture.backend.keys().length, 1);
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(fixture.backend.keys(), []);
  });

  test('a commit under way keeps its blob from being collected', async () => {
    await using fixture = await StoreFixture.make();
    const { local, database, store } = fixture;
    const digest = await put(fixture, 'same');
    await store.content.delete(fixture.ctx, digest);
    const placed = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const write = database.write.bind(database);
    const acquire = store.blobGate.acquire.bind(store.blobGate);
    let commit: Promise<Digest> | undefined;
    local.blobs = async function* () {
      // The commit that follows is held between its bytes being in place and its record being durable.
      store.blobGate.acquire = async (...parameters) => {
        database.write = async (work) => {
          placed.resolve();
          await release.promise;
          return write(work);
        };
        return acquire(...parameters);
      };
      commit = put(fixture, 'same');
      await placed.promise;
      store.blobGate.acquire = (...parameters) => {
        release.resolve();
        return acquire(...parameters);
      };
      yield digest;
      release.resolve();
    };
    await fixture.collector.run(fixture.ctx);
    assert.equal(await commit, digest);
    await using reader = await store.content.open(fixture.ctx, digest);
    assert.equal(reader.sizeBytes, bytesOf('same').length);
  });
});
