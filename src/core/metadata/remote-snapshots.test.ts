/**
 * The namespaced view over a snapshotter of this process and over one of another program, which here wants to be told a
 * namespace in every call, as another containerd does.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { background, withNamespace } from '../../base/context.ts';
import { parseNamespace, parseSnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { remotePlugin, servedSnapshotter } from '../../testing/remote-plugin.ts';
import { RemoteBlobs } from '../content/remote-blobs.ts';
import { Exchange } from '../events/exchange.ts';
import { Collector } from '../gc/collector.ts';
import { RemotePlugin } from '../plugins/remote-plugin.ts';
import { makeBackend } from '../snapshots/backend.fixture.ts';
import { NativeSnapshotter } from '../snapshots/native.ts';
import { ProxySnapshotter } from '../snapshots/proxy-snapshotter.ts';
import { snapshotterSuite } from '../snapshots/snapshotter.suite.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import { Database } from './database.ts';
import { MetadataStore } from './metadata.ts';
import { metadataMigrations } from './schema.ts';
import { StoreFixture } from './store.fixture.ts';

const nobody = background(silentLogger);
const within = (name: string) => withNamespace(nobody, parseNamespace(name));
const ctx = within('one');
const key = parseSnapshotKey;

interface Made extends AsyncDisposable {
  readonly store: MetadataStore;
  /** The view under test. */
  readonly snapshotter: Snapshotter;
  /** What is below, wherever it is served. */
  readonly backend: Snapshotter;
}

async function make(where: 'here' | 'elsewhere' | 'nowhere'): Promise<Made> {
  await using cleanup = new AsyncDisposableStack();
  const backend = cleanup.use(await makeBackend(NativeSnapshotter)).snapshotter;
  const database = cleanup.use(new Database(':memory:', metadataMigrations));
  const { remote } =
    where === 'nowhere'
      ? { remote: cleanup.use(new RemotePlugin({ plugin: 'gone', address: '/nowhere.sock' })) }
      : cleanup.use(await remotePlugin([servedSnapshotter('far', backend)]));
  const proxy = new ProxySnapshotter({ remote }, { name: 'far', capabilities: [] });
  const { store: bytes } = cleanup.use(await StoreFixture.make());
  const store = new MetadataStore(
    {
      database,
      contentStore: new RemoteBlobs({ content: bytes.content }, { name: 'bytes' }),
      snapshotters: new Map([['far', where === 'here' ? backend : proxy]]),
      events: new Exchange(),
    },
    { contentSharing: 'shared' },
  );
  const held = cleanup.move();
  return {
    store,
    snapshotter: store.snapshotter('far'),
    backend,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

for (const where of ['here', 'elsewhere'] as const)
  snapshotterSuite(`metadata over a back end ${where}`, async () => {
    const { snapshotter, [Symbol.asyncDispose]: dispose } = await make(where);
    return { ctx, snapshotter, [Symbol.asyncDispose]: dispose };
  });

describe('a collection', () => {
  test('frees what is garbage in a program that wants a namespace, leaf first, and keeps the rest', async () => {
    await using made = await make('elsewhere');
    const { store, snapshotter, backend } = made;
    for (const name of ['one', 'two']) {
      await snapshotter.prepare(within(name), key('work'), {});
      await snapshotter.commit(within(name), key('base'), key('work'), {});
      await snapshotter.prepare(within(name), key('top'), { parent: key('base') });
    }
    await snapshotter.update(within('two'), { key: key('top'), labels: { 'containerd.io/gc.root': 'x' } }, [
      'labels',
    ]);
    const { garbage } = await new Collector({ store }).run(nobody);
    assert.equal(garbage.snapshots.length, 2);
    const left = await Array.fromAsync(backend.list(nobody, []));
    assert.deepEqual(left.map((info) => info.key.replace(/\/\d+\//, '/N/')).toSorted(), [
      'two/N/base',
      'two/N/top',
    ]);
  });

  test('is not failed by a program that is not there, and tries again', async () => {
    await using made = await make('nowhere');
    const { store, snapshotter } = made;
    await rejectsWith(
      snapshotter.prepare(ctx, key('k'), {}),
      'Unavailable',
      /proxy plugin gone at \/nowhere\.sock/,
    );
    await new Collector({ store }).run(nobody);
    assert.deepEqual([...store.changes.dirtySnapshotters], ['far']);
  });
});
