import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { background, withNamespace } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { parseIngestRef, parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { remotePlugin, servedContent } from '../../testing/remote-plugin.ts';
import { Content } from '../../wire/gen/containerd/services/content/v1/content_pb.js';
import { serve } from '../../wire/service.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { contentStoreSuite } from './content-store.suite.ts';
import { ProxyContentStore } from './proxy-content-store.ts';

contentStoreSuite('metadata by proxy', async () => {
  await using cleanup = new AsyncDisposableStack();
  const fixture = cleanup.use(await StoreFixture.make());
  const { remote } = cleanup.use(await remotePlugin([servedContent(fixture.store.content)]));
  const held = cleanup.move();
  return {
    store: new ProxyContentStore({ remote }),
    ctx: fixture.within('one'),
    otherCtx: fixture.within('two'),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
});

const ctx = withNamespace(background(silentLogger), parseNamespace('default'));
const hello = digestOf('hello');
const ref = parseIngestRef('ref');

describe('a content store that does not do as it should', () => {
  test('gives fewer or more bytes than it said', async () => {
    for (const text of ['hell', 'hello, you']) {
      await using made = await remotePlugin([
        serve(Content, {
          info: async () => ({ info: { digest: hello, size: 5n } }),
          async *read() {
            yield { data: Buffer.from(text) };
          },
        }),
      ]);
      await using reader = await new ProxyContentStore(made).open(ctx, hello);
      await rejectsWith(Array.fromAsync(reader.stream()), 'DataLoss', /bytes of sha256:.* where 5/);
    }
  });

  test('ends a write without an answer, or loses bytes of it', async () => {
    await using silent = await remotePlugin([serve(Content, { async *write() {} })]);
    await rejectsWith(new ProxyContentStore(silent).writer(ctx, { ref }), 'DataLoss', /without an answer/);
    await using losing = await remotePlugin([
      serve(Content, {
        async *write(_ctx, requests) {
          for await (const { action } of requests) yield { action, offset: 0n };
        },
      }),
    ]);
    await using writer = await new ProxyContentStore(losing).writer(ctx, { ref });
    await rejectsWith(writer.write(Buffer.from('hello')), 'DataLoss', /has 0 bytes of ingest ref, not 5/);
  });

  test('answers without content', async () => {
    await using made = await remotePlugin([
      serve(Content, { info: async () => ({}), status: async () => ({}) }),
    ]);
    const store = new ProxyContentStore(made);
    await rejectsWith(store.info(ctx, hello), 'DataLoss');
    await rejectsWith(store.status(ctx, ref), 'DataLoss');
    await rejectsWith(store.delete(ctx, hello), 'Unimplemented');
  });

  test('a large write goes in pieces and comes back whole', async () => {
    await using fixture = await StoreFixture.make();
    await using made = await remotePlugin([servedContent(fixture.store.content)]);
    const store = new ProxyContentStore(made);
    const bytes = Buffer.alloc(20 * 1024 * 1024, 'a piece of it ');
    await using writer = await store.writer(fixture.ctx, { ref, expected: digestOf(bytes) });
    await writer.write(bytes);
    const digest = await writer.commit(fixture.ctx, { sizeBytes: bytes.byteLength });
    await using reader = await store.open(fixture.ctx, digest);
    assert.equal(Buffer.compare(Buffer.concat(await Array.fromAsync(reader.stream())), bytes), 0);
  });
});
