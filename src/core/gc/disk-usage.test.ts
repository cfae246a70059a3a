import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withLease } from '../../base/context.ts';
import { type Digest, digestOf } from '../../base/digest.ts';
import { type Namespace, parseImageName, parseIngestRef, parseSnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { putContent } from '../content/content-store.suite.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { diskUsage, type UsageEntry } from './disk-usage.ts';

const kib = (name: string, count: number): Buffer => Buffer.alloc(count * 1024, name);
const put = (fixture: StoreFixture, bytes: Buffer, labels: Labels = {}, ctx = fixture.ctx): Promise<Digest> =>
  putContent(fixture.store.content, ctx, bytes, { labels });
const createImage = (fixture: StoreFixture, name: string, digest: Digest, ctx = fixture.ctx) =>
  fixture.store.images.create(ctx, {
    name: parseImageName(name),
    target: { mediaType: 'x', digest, sizeBytes: 1 },
    labels: {},
  });

async function usage(fixture: StoreFixture, namespace: Namespace | undefined = fixture.ctx.namespace) {
  const { entries, totals } = await diskUsage(fixture.store, fixture.ctx, { namespace, skipWalks: false });
  const find = (kind: string, id: string): UsageEntry | undefined =>
    entries.find((entry) => entry.kind === kind && entry.id === id);
  const inKib = (kind: string, id: string): number[] => {
    const entry = find(kind, id);
    return [entry?.contentBytes ?? -1, entry?.sharedBytes ?? -1, entry?.uniqueBytes ?? -1].map(
      (each) => each / 1024,
    );
  };
  return { entries, totals, find, inKib };
}

describe('disk usage', () => {
  test('what two images share is shared, what one alone needs is unique, what nobody needs is garbage', async () => {
    await using fixture = await StoreFixture.make();
    const shared = await put(fixture, kib('s', 4));
    const refs = (layer: Digest): Labels => ({
      'containerd.io/gc.ref.content.0': shared,
      'containerd.io/gc.ref.content.1': layer,
    });
    const [one, two] = [await put(fixture, kib('1', 8)), await put(fixture, kib('2', 16))];
    await createImage(fixture, 'one', await put(fixture, kib('a', 1), refs(one)));
    await createImage(fixture, 'two', await put(fixture, kib('b', 1), refs(two)));
    const garbage = await put(fixture, kib('g', 32));
    const { entries, totals, find, inKib } = await usage(fixture);
    assert.deepEqual(inKib('image', 'one'), [13, 4, 9]);
    assert.deepEqual(inKib('image', 'two'), [21, 4, 17]);
    assert.deepEqual(inKib('content', shared), [4, 4, 0]);
    assert.equal(find('content', shared)?.holders, 2);
    assert.deepEqual([find('content', garbage)?.isGarbage, find('content', garbage)?.holders], [true, 0]);
    assert.deepEqual(
      [totals.content.count, totals.content.bytes / 1024, totals.garbageBytes / 1024],
      [6, 4 + 8 + 16 + 2 + 32, 32],
    );
    assert.deepEqual(
      entries.filter(({ kind }) => kind === 'image').map(({ id }) => id),
      ['two', 'one'],
    );
    // Removing an image frees what was unique to it.
    await fixture.store.images.delete(fixture.ctx, parseImageName('two'), {});
    await fixture.collector.run(fixture.ctx);
    assert.equal((await usage(fixture)).totals.content.bytes / 1024, 13);
  });

  test('leases and uploads are told; a blob in two namespaces is one file and shared', async () => {
    await using fixture = await StoreFixture.make();
    const other = fixture.within('other');
    const digest = await put(fixture, kib('x', 2));
    await put(fixture, kib('x', 2), {}, other);
    await createImage(fixture, 'here', digest);
    await createImage(fixture, 'there', digest, other);
    const lease = await fixture.store.leases.create(fixture.ctx, { labels: {} });
    await put(fixture, kib('l', 3), {}, withLease(fixture.ctx, lease.id));
    {
      await using writer = await fixture.store.content.writer(fixture.ctx, { ref: parseIngestRef('upload') });
      await writer.write(kib('u', 5));
    }
    const here = await usage(fixture);
    assert.deepEqual(here.inKib('image', 'here'), [2, 2, 0]);
    assert.deepEqual(here.inKib('lease', lease.id), [3, 0, 3]);
    assert.deepEqual(here.inKib('ingest', 'upload'), [5, 0, 5]);
    assert.equal(here.find('image', 'there'), undefined);
    const everywhere = await diskUsage(fixture.store, fixture.ctx, {
      namespace: undefined,
      skipWalks: false,
    });
    assert.deepEqual(
      everywhere.entries.filter(({ kind }) => kind === 'image').map(({ id }) => id),
      ['here', 'there'],
    );
    assert.equal(everywhere.totals.content.bytes / 1024, 5);
    assert.equal(everywhere.totals.ingests.bytes / 1024, 5);
  });

  test('snapshots: each counts its own layer, an image the whole chain', async () => {
    await using fixture = await StoreFixture.make();
    const snapshotter = fixture.store.snapshotter('records');
    const key = parseSnapshotKey;
    await snapshotter.prepare(fixture.ctx, key('a'), {});
    await snapshotter.commit(fixture.ctx, key('base'), key('a'), {});
    await snapshotter.prepare(fixture.ctx, key('b'), { parent: key('base') });
    await snapshotter.commit(fixture.ctx, key('top'), key('b'), {});
    const config = await put(fixture, kib('c', 1), { 'containerd.io/gc.ref.snapshot.records': 'top' });
    await createImage(fixture, 'i', config);
    await snapshotter.prepare(fixture.ctx, key('loose'), { parent: key('base') });
    const { find, totals } = await usage(fixture);
    assert.equal(find('image', 'i')?.snapshotBytes, 2);
    assert.equal(find('snapshot', 'records/top')?.holders, 1);
    assert.equal(find('snapshot', 'records/loose')?.isGarbage, true);
    assert.equal(totals.snapshots.count, 3);
  });

  test('1,000 images of 12 blobs and 8 snapshots take no walk', {
    timeout: 60_000,
  }, async (t) => {
    await using fixture = await StoreFixture.make();
    const digest = (name: string): string => digestOf(Buffer.from(name));
    await fixture.backend.records.write((transaction) => {
      for (let at = 0; at < 8000; at += 1) {
        const { id } = transaction.create('active', key(`default/${at}/a`), undefined, {});
        transaction.commit(key(`default/${at}/s${at}`), key(`default/${at}/a`), undefined, {});
        transaction.setUsage(id, { sizeBytes: 100, inodes: 1 });
      }
    });
    await fixture.database.write((sql) => {
      for (let at = 0; at < 1000; at += 1) {
        const refs = Array.from({ length: 11 }, (_, nth) => [
          `containerd.io/gc.ref.content.${nth}`,
          digest(`${at} ${nth}`),
        ]);
        const labels = {
          ...Object.fromEntries(refs),
          'containerd.io/gc.ref.snapshot.records': `s${at * 8 + 7}`,
        };
        sql.run(
          "INSERT INTO content VALUES ('default', ?, 10, ?, 1, 1)",
          digest(`m${at}`),
          JSON.stringify(labels),
        );
        for (let nth = 0; nth < 11; nth += 1)
          sql.run("INSERT INTO content VALUES ('default', ?, 10, '{}', 1, 1)", digest(`${at} ${nth}`));
        sql.run(
          "INSERT INTO images VALUES ('default', ?, 'm', ?, 1, '{}', '{}', 1, 1)",
          `i${at}`,
          digest(`m${at}`),
        );
        for (let nth = 0; nth < 8; nth += 1)
          sql.run(
            "INSERT INTO snapshots VALUES ('default', 'records', ?, ?, ?, 'committed', '{}', 1, 1, NULL, NULL)",
            ...[
              `s${at * 8 + nth}`,
              `default/${at * 8 + nth}/s${at * 8 + nth}`,
              nth === 0 ? null : `s${at * 8 + nth - 1}`,
            ],
          );
      }
    });
    const started = performance.now();
    const { entries, totals } = await usage(fixture);
    t.diagnostic(`${(performance.now() - started).toFixed(0)} ms`);
    assert.deepEqual([totals.content.count, totals.snapshots.count], [12_000, 8000]);
    const images = entries.filter(({ kind }) => kind === 'image');
    assert.equal(images.length, 1000);
    assert.ok(
      images.every(({ contentBytes, snapshotBytes }) => contentBytes === 120 && snapshotBytes === 800),
    );
  });
});

const key = parseSnapshotKey;
