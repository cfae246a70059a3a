import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { withLease } from '../../base/context.ts';
import { hasCode, unavailable } from '../../base/errors.ts';
import { parseLeaseId, parseSnapshotKey } from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import type { SnapshotInfo } from '../snapshots/snapshotter.ts';
import { Database } from './database.ts';
import { metadataMigrations } from './schema.ts';
import type { MetadataSnapshotter } from './snapshots.ts';
import { StoreFixture } from './store.fixture.ts';

const key = parseSnapshotKey;
async function make(): Promise<
  { fixture: StoreFixture; snapshotter: MetadataSnapshotter } & AsyncDisposable
> {
  const fixture = await StoreFixture.make();
  return {
    fixture,
    snapshotter: fixture.store.snapshotter('records'),
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
}

const list = (fixture: StoreFixture, ...filters: string[]): Promise<SnapshotInfo[]> =>
  Array.fromAsync(fixture.store.snapshotter('records').list(fixture.ctx, filters));

describe('namespaced snapshots', () => {
  test('prepare, commit, view, remove', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    const { ctx } = fixture;
    const mounts = await snapshotter.prepare(ctx, key('work'), {
      labels: { a: '1', 'containerd.io/snapshot/x': '2' },
    });
    assert.equal(mounts.length, 1);
    assert.deepEqual(await snapshotter.mounts(ctx, key('work')), mounts);
    const active = await snapshotter.stat(ctx, key('work'));
    assert.deepEqual(
      [active.kind, active.parent, active.labels],
      ['active', undefined, { a: '1', 'containerd.io/snapshot/x': '2' }],
    );
    await snapshotter.commit(ctx, key('base'), key('work'), { labels: { b: '3' } });
    const base = await snapshotter.stat(ctx, key('base'));
    assert.deepEqual([base.kind, base.labels], ['committed', { b: '3' }]);
    await rejectsWith(snapshotter.stat(ctx, key('work')), 'NotFound');
    await rejectsWith(snapshotter.mounts(ctx, key('base')), 'FailedPrecondition');
    await snapshotter.view(ctx, key('view'), { parent: key('base') });
    await rejectsWith(snapshotter.commit(ctx, key('x'), key('view'), {}), 'FailedPrecondition');
    await rejectsWith(snapshotter.remove(ctx, key('base')), 'FailedPrecondition');
    await snapshotter.remove(ctx, key('view'));
    await snapshotter.remove(ctx, key('base'));
    await rejectsWith(snapshotter.remove(ctx, key('base')), 'NotFound');
    assert.deepEqual(fixture.events.topics(), [
      '/snapshot/prepare',
      '/snapshot/commit',
      '/snapshot/remove',
      '/snapshot/remove',
    ]);
  });

  test('only labels for the back end reach it, under keys of its own', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    await snapshotter.prepare(fixture.ctx, key('k'), { labels: { a: '1', 'containerd.io/snapshot/x': '2' } });
    const [backend] = fixture.backend.records.read((records) => [...records.list()]);
    assert.match(backend?.key ?? '', /^default\/\d+\/k$/);
    assert.deepEqual(backend?.labels, { 'containerd.io/snapshot/x': '2' });
    await snapshotter.update(fixture.ctx, { key: key('k'), labels: { 'containerd.io/snapshot/x': '3' } }, []);
    const [updated] = fixture.backend.records.read((records) => [...records.list()]);
    assert.deepEqual(updated?.labels, { 'containerd.io/snapshot/x': '3' });
    assert.deepEqual((await snapshotter.stat(fixture.ctx, key('k'))).labels, {
      'containerd.io/snapshot/x': '3',
    });
  });

  test('names are taken per namespace; parents must be there and committed', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    const { ctx } = fixture;
    await snapshotter.prepare(ctx, key('k'), {});
    await rejectsWith(snapshotter.view(ctx, key('k'), {}), 'AlreadyExists');
    await snapshotter.prepare(fixture.within('other'), key('k'), {});
    await rejectsWith(snapshotter.prepare(ctx, key('n'), { parent: key('absent') }), 'NotFound');
    await rejectsWith(snapshotter.prepare(ctx, key('n'), { parent: key('k') }), 'InvalidArgument');
    await rejectsWith(
      Promise.resolve().then(() => fixture.store.snapshotter('absent')),
      'InvalidArgument',
    );
    assert.equal(fixture.backend.keys().length, 2);
  });

  test('filters over kind, name, parent and labels', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    await snapshotter.prepare(fixture.ctx, key('a'), {});
    await snapshotter.commit(fixture.ctx, key('base'), key('a'), { labels: { l: '1' } });
    await snapshotter.view(fixture.ctx, key('v'), { parent: key('base') });
    for (const filter of ['kind==view', 'name==v', 'parent==base', 'labels.l!=1'])
      assert.deepEqual(
        (await list(fixture, filter)).map((info) => info.key),
        ['v'],
        filter,
      );
  });

  test('commit rebases a parentless snapshot, and keeps its usage', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    const { ctx } = fixture;
    for (const name of ['a', 'b']) await snapshotter.prepare(ctx, key(name), {});
    await snapshotter.commit(ctx, key('A'), key('a'), {});
    await snapshotter.commit(ctx, key('B'), key('b'), { parent: key('A') });
    assert.equal((await snapshotter.stat(ctx, key('B'))).parent, 'A');
    assert.deepEqual(await snapshotter.usage(ctx, key('B')), { sizeBytes: 1, inodes: 1 });
    await snapshotter.prepare(ctx, key('c'), { parent: key('B') });
    await rejectsWith(
      snapshotter.commit(ctx, key('C'), key('c'), { parent: key('A') }),
      'FailedPrecondition',
    );
    await rejectsWith(snapshotter.remove(ctx, key('A')), 'FailedPrecondition');
  });

  test('leases record what is prepared, and follow a commit', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    const { id } = await fixture.store.leases.create(fixture.ctx, { labels: {} });
    const leased = withLease(fixture.ctx, id);
    await snapshotter.prepare(leased, key('a'), {});
    assert.deepEqual(await fixture.store.leases.listResources(leased, id), [
      { type: 'snapshots/records', id: 'a' },
    ]);
    await snapshotter.commit(fixture.ctx, key('A'), key('a'), {});
    assert.deepEqual(await fixture.store.leases.listResources(leased, id), [
      { type: 'snapshots/records', id: 'A' },
    ]);
    await rejectsWith(
      snapshotter.prepare(withLease(fixture.ctx, parseLeaseId('no')), key('b'), {}),
      'NotFound',
    );
    assert.equal(fixture.backend.keys().length, 1);
  });

  test('two commits under one name: one wins, the other keeps its snapshot', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    for (const name of ['a', 'b']) await snapshotter.prepare(fixture.ctx, key(name), {});
    const results = await Promise.allSettled(
      ['a', 'b'].map((name) => snapshotter.commit(fixture.ctx, key('same'), key(name), {})),
    );
    const failed = results.filter((result) => result.status === 'rejected');
    assert.equal(failed.length, 1);
    assert.ok(hasCode(failed[0]?.reason, 'AlreadyExists'));
    assert.deepEqual((await list(fixture)).map((info) => info.kind).toSorted(), ['active', 'committed']);
  });

  test('what a back end fails to do leaves nothing behind', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    fixture.backend.failures.set('prepare', unavailable('no'));
    await rejectsWith(snapshotter.prepare(fixture.ctx, key('a'), {}), 'Unavailable');
    assert.deepEqual(await list(fixture), []);
    await snapshotter.prepare(fixture.ctx, key('a'), {});
    fixture.backend.failures.set('commit', unavailable('no'));
    await rejectsWith(snapshotter.commit(fixture.ctx, key('A'), key('a'), {}), 'Unavailable');
    assert.equal((await snapshotter.stat(fixture.ctx, key('a'))).kind, 'active');
    await snapshotter.commit(fixture.ctx, key('A'), key('a'), {});
  });
});

describe('remote snapshots', () => {
  const target = { 'containerd.io/snapshot.ref': 'target' };

  test('one that the back end has is adopted, into the lease, and AlreadyExists', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    const { backend, ctx } = fixture;
    const { id } = await fixture.store.leases.create(ctx, { labels: {} });
    // A remote back end: Prepare commits by itself under a name of its own.
    backend.prepare = async (_ctx, given, options) => {
      await backend.records.write((records) => {
        records.create('active', given, undefined, {});
        records.commit(key('remote'), given, undefined, options.labels ?? {});
      });
      return backend.records.write((records) => {
        records.create('active', key('remote'), undefined, {});
        return [];
      });
    };
    await rejectsWith(
      snapshotter.prepare(withLease(ctx, id), key('extract'), { labels: target }),
      'AlreadyExists',
    );
    const found = await snapshotter.stat(ctx, key('target'));
    assert.deepEqual([found.kind, found.labels], ['committed', target]);
    assert.deepEqual(await fixture.store.leases.listResources(ctx, id), [
      { type: 'snapshots/records', id: 'target' },
    ]);
    await rejectsWith(snapshotter.prepare(ctx, key('extract'), { labels: target }), 'AlreadyExists');
    await fixture.collector.run(ctx);
    assert.deepEqual(backend.keys(), ['remote']);
  });

  test('with a back end that has none it is an ordinary prepare', async () => {
    await using made = await make();
    const { fixture, snapshotter } = made;
    assert.equal((await snapshotter.prepare(fixture.ctx, key('extract'), { labels: target })).length, 1);
  });
});

describe('a commit that a crash cut', () => {
  const cut = async (afterBackend: boolean): Promise<StoreFixture> => {
    const fixture = await StoreFixture.make();
    const snapshotter = fixture.store.snapshotter('records');
    await snapshotter.prepare(fixture.ctx, key('base work'), {});
    await snapshotter.commit(fixture.ctx, key('base'), key('base work'), {});
    await snapshotter.prepare(fixture.ctx, key('a'), {});
    const commit = fixture.backend.commit.bind(fixture.backend);
    const reached = Promise.withResolvers<void>();
    fixture.backend.commit = async (...parameters) => {
      if (afterBackend) await commit(...parameters);
      reached.resolve();
      // The process ends here.
      await new Promise<never>(() => {});
    };
    void snapshotter.commit(fixture.ctx, key('A'), key('a'), { labels: { l: '1' }, parent: key('base') });
    await reached.promise;
    fixture.close();
    return fixture;
  };

  test('after the back end did it: it is finished', async () => {
    await using before = await cut(true);
    await using after = StoreFixture.reopen(before.directory);
    const snapshotter = after.store.snapshotter('records');
    const info = await snapshotter.stat(after.ctx, key('A'));
    assert.deepEqual([info.kind, info.labels, info.parent], ['committed', { l: '1' }, 'base']);
    await rejectsWith(snapshotter.stat(after.ctx, key('a')), 'NotFound');
  });

  test('before the back end did it: it never was', async () => {
    await using before = await cut(false);
    await using after = StoreFixture.reopen(before.directory);
    const snapshotter = after.store.snapshotter('records');
    const info = await snapshotter.stat(after.ctx, key('a'));
    assert.deepEqual([info.kind, info.parent], ['active', undefined]);
    await snapshotter.commit(after.ctx, key('A'), key('a'), { parent: key('base') });
  });

  test('what a prepare left in the back end is collected', async () => {
    await using fixture = await StoreFixture.make();
    await fixture.backend.prepare(fixture.ctx, key('default/7/orphan'), {});
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(fixture.backend.keys(), []);
  });

  test('numbers of back-end keys are not given again after a restart', async () => {
    await using before = await StoreFixture.make();
    await before.store.snapshotter('records').prepare(before.ctx, key('k'), {});
    before.close();
    await using after = StoreFixture.reopen(before.directory);
    await after.store.snapshotter('records').prepare(after.ctx, key('k2'), {});
    const numbers = after.backend.keys().map((backendKey) => backendKey.split('/')[1]);
    assert.equal(new Set(numbers).size, 2);
  });
});

test('a database of a newer version is refused, and left as it is', async () => {
  await using fixture = await StoreFixture.make();
  fixture.close();
  const path = join(fixture.directory, 'meta.db');
  const newer = new Database(path, [...metadataMigrations, 'SELECT 1']);
  newer[Symbol.dispose]();
  assert.throws(
    () => new Database(path, metadataMigrations),
    (error) => hasCode(error, 'FailedPrecondition'),
  );
});
