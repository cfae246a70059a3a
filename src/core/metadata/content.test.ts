import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { withLease } from '../../base/context.ts';
import { digestHex, digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseIngestRef, parseLeaseId, parseNamespace } from '../../base/identifiers.ts';
import { ContentCreateSchema } from '../../wire/gen/containerd/events/content_pb.js';
import { contentStoreSuite, putContent, readContent } from '../content/content-store.suite.ts';
import { StoreFixture } from './store.fixture.ts';

for (const contentSharing of ['shared', 'isolated'] as const)
  contentStoreSuite(`metadata, ${contentSharing}`, async () => {
    const fixture = await StoreFixture.make({ contentSharing });
    return {
      store: fixture.store.content,
      ctx: fixture.within('one'),
      otherCtx: fixture.within('two'),
      [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
    };
  });

const hello = Buffer.from('hello');
const digest = digestOf(hello);
const ref = parseIngestRef('ref');

describe('namespaced content', () => {
  test('a commit is announced once, with digest and size; the blob is read-only on disk', async () => {
    await using fixture = await StoreFixture.make();
    await putContent(fixture.store.content, fixture.ctx, hello);
    assert.deepEqual(fixture.events.topics(), ['/content/create']);
    const [published] = fixture.events.published;
    assert.equal(published?.event.typeUrl, 'containerd.events.ContentCreate');
    const event = fromBinary(ContentCreateSchema, published?.event.value ?? new Uint8Array());
    assert.deepEqual([event.digest, event.size], [digest, 5n]);
    const blob = await stat(join(fixture.directory, 'content', 'blobs', 'sha256', digestHex(digest)));
    assert.equal(blob.mode & 0o777, 0o444);
  });

  test('shared: an expected digest of another namespace gives a complete writer', async () => {
    await using fixture = await StoreFixture.make();
    const { content } = fixture.store;
    const other = fixture.within('other');
    await putContent(content, fixture.ctx, hello);
    await using writer = await content.writer(other, { ref, expected: digest });
    assert.deepEqual([writer.status().offsetBytes, writer.status().totalBytes], [5, 5]);
    assert.equal((await content.status(other, ref)).offsetBytes, 5);
    assert.equal(await writer.commit(other, { sizeBytes: 5, expected: digest }), digest);
    assert.deepEqual(await readContent(content, other, digest), hello);
    assert.deepEqual(await content.listStatuses(other, []), []);
  });

  test('shared: whoever writes all the same gets an ingest of its own', async () => {
    await using fixture = await StoreFixture.make();
    const { content } = fixture.store;
    const other = fixture.within('other');
    await putContent(content, fixture.ctx, hello);
    await using writer = await content.writer(other, { ref, expected: digest });
    await writer.write(Buffer.from('!'));
    assert.equal(writer.digest(), digestOf('hello!'));
    await writer.truncate(0);
    await writer.write(Buffer.from('new'));
    assert.equal(await writer.commit(other, {}), digestOf('new'));
  });

  test('isolated: bytes are asked for, unless a namespace is shareable', async () => {
    await using fixture = await StoreFixture.make({ contentSharing: 'isolated' });
    const { content, namespaces } = fixture.store;
    const other = fixture.within('other');
    await putContent(content, fixture.ctx, hello);
    {
      await using writer = await content.writer(other, { ref, expected: digest });
      assert.equal(writer.status().offsetBytes, 0);
    }
    const labels = { 'containerd.io/namespace.shareable': 'true' };
    await namespaces.update(fixture.ctx, { name: parseNamespace('default'), labels }, []);
    await using writer = await content.writer(other, { ref, expected: digest });
    assert.equal(writer.status().offsetBytes, 5);
  });

  test('a lease that is not there is NotFound, and nothing is made', async () => {
    await using fixture = await StoreFixture.make();
    const { content } = fixture.store;
    const leased = withLease(fixture.ctx, parseLeaseId('absent'));
    await assert.rejects(content.writer(leased, { ref }), (error) => hasCode(error, 'NotFound'));
    assert.deepEqual(await content.listStatuses(fixture.ctx, []), []);
    assert.deepEqual(await fixture.store.namespaces.list(fixture.ctx), []);
  });

  test('an ingest and what becomes of it are in the lease; AlreadyExists joins it too', async () => {
    await using fixture = await StoreFixture.make();
    const { content, leases } = fixture.store;
    const { id } = await leases.create(fixture.ctx, { labels: {} });
    const leased = withLease(fixture.ctx, id);
    const resources = (): Promise<unknown> => leases.listResources(fixture.ctx, id);
    await using writer = await content.writer(leased, { ref });
    assert.deepEqual(await resources(), [{ type: 'ingests', id: 'ref' }]);
    await writer.write(hello);
    await writer.commit(leased, {});
    assert.deepEqual(await resources(), [{ type: 'content', id: digest }]);
    await leases.deleteResource(fixture.ctx, id, { type: 'content', id: digest });
    await assert.rejects(content.writer(leased, { ref, expected: digest }), (error) =>
      hasCode(error, 'AlreadyExists'),
    );
    assert.deepEqual(await resources(), [{ type: 'content', id: digest }]);
  });

  test('aborting under a writer: its commit is NotFound and nothing is left', async () => {
    await using fixture = await StoreFixture.make();
    const { content } = fixture.store;
    await using writer = await content.writer(fixture.ctx, { ref });
    await writer.write(hello);
    await content.abort(fixture.ctx, ref);
    await assert.rejects(writer.commit(fixture.ctx, {}), (error) => hasCode(error, 'NotFound'));
    await assert.rejects(content.info(fixture.ctx, digest), (error) => hasCode(error, 'NotFound'));
    await using again = await content.writer(fixture.ctx, { ref });
    assert.equal(again.status().offsetBytes, 0);
  });
});
