/** The whole content store over the bytes of another program: here, of a second metadata store behind a socket. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { background, withNamespace } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { parseIngestRef, parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { remotePlugin, servedContent } from '../../testing/remote-plugin.ts';
import { Exchange } from '../events/exchange.ts';
import { Collector } from '../gc/collector.ts';
import { Database } from '../metadata/database.ts';
import { MetadataStore } from '../metadata/metadata.ts';
import { metadataMigrations } from '../metadata/schema.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { contentStoreSuite, putContent, readContent } from './content-store.suite.ts';
import { ProxyContentStore } from './proxy-content-store.ts';
import { RemoteBlobs } from './remote-blobs.ts';

const within = (name: string) => withNamespace(background(silentLogger), parseNamespace(name));

/** `far` is the other program's store, `near` ours over it. */
async function make(
  contentSharing: 'shared' | 'isolated' = 'shared',
): Promise<{ far: StoreFixture; near: MetadataStore; blobs: RemoteBlobs } & AsyncDisposable> {
  await using cleanup = new AsyncDisposableStack();
  const far = cleanup.use(await StoreFixture.make());
  const { remote } = cleanup.use(await remotePlugin([servedContent(far.store.content)]));
  const blobs = new RemoteBlobs({ content: new ProxyContentStore({ remote }) }, { name: 'far' });
  const database = cleanup.use(new Database(':memory:', metadataMigrations));
  const near = new MetadataStore(
    { database, contentStore: blobs, snapshotters: new Map(), events: new Exchange() },
    { contentSharing },
  );
  const held = cleanup.move();
  return { far, near, blobs, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

for (const contentSharing of ['shared', 'isolated'] as const)
  contentStoreSuite(`metadata over a proxy, ${contentSharing}`, async () => {
    const made = await make(contentSharing);
    return {
      store: made.near.content,
      ctx: within('one'),
      otherCtx: within('two'),
      [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
    };
  });

const hello = Buffer.from('hello');

describe('blobs of another program', () => {
  test('are in one namespace over there, whoever wrote them', async () => {
    await using made = await make();
    await putContent(made.near.content, within('one'), hello);
    await putContent(made.near.content, within('two'), Buffer.from('other'));
    const there = await Array.fromAsync(made.far.store.content.list(within('gantry'), []));
    assert.deepEqual(
      there.map(({ digest }) => digest),
      [digestOf(hello), digestOf('other')].toSorted(),
    );
  });

  test('are removed by a collection when nobody lists them, and so are ingests that nobody writes', async () => {
    await using made = await make();
    const { near, far, blobs } = made;
    const ctx = within('one');
    const kept = await putContent(near.content, ctx, hello, { labels: { 'containerd.io/gc.root': '1' } });
    await putContent(near.content, ctx, Buffer.from('garbage'));
    await (await blobs.writer({ ref: parseIngestRef('left') }))[Symbol.asyncDispose]();
    await using busy = await blobs.writer({ ref: parseIngestRef('busy') });
    await busy.write(hello);
    await new Collector({ store: near }).run(background(silentLogger));
    const there = await Array.fromAsync(far.store.content.list(within('gantry'), []));
    assert.deepEqual(
      there.map(({ digest }) => digest),
      [kept],
    );
    const ingests = await far.store.content.listStatuses(within('gantry'), []);
    assert.deepEqual(
      ingests.map(({ ref }) => ref),
      ['busy'],
    );
    assert.deepEqual(await readContent(near.content, ctx, kept), hello);
  });

  test('a damaged one is replaced', async () => {
    await using made = await make();
    const digest = await putContent(made.near.content, within('one'), hello);
    await using writer = await made.blobs.writer({ ref: parseIngestRef('check') });
    await writer.write(hello);
    assert.deepEqual(await writer.commit({ expected: digest, replace: true }), {
      digest,
      sizeBytes: 5,
      existed: false,
    });
    await using again = await made.blobs.writer({ ref: parseIngestRef('again') });
    await again.write(hello);
    assert.equal((await again.commit({})).existed, true);
    await using wrong = await made.blobs.writer({ ref: parseIngestRef('wrong') }, 'as people know it');
    await wrong.write(hello);
    await rejectsWith(
      wrong.commit({ sizeBytes: 4 }),
      'FailedPrecondition',
      /^"as people know it" failed size/,
    );
  });
});
