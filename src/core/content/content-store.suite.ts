/**
 * What every content store answers, whoever implements it: the namespaced view of the metadata store, or a client of
 * one that is served elsewhere.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { NamespacedContext } from '../../base/context.ts';
import { type Digest, digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import type { CommitOptions, ContentStore } from './content-store.ts';

export interface ContentStoreUnderTest extends AsyncDisposable {
  readonly store: ContentStore;
  /** Two namespaces of the same store. */
  readonly ctx: NamespacedContext;
  readonly otherCtx: NamespacedContext;
}

export async function putContent(
  store: ContentStore,
  ctx: NamespacedContext,
  bytes: Uint8Array,
  options: CommitOptions = {},
): Promise<Digest> {
  await using writer = await store.writer(ctx, { ref: parseIngestRef(`put ${digestOf(bytes)}`) });
  await writer.truncate(0);
  await writer.write(bytes);
  return await writer.commit(ctx, options);
}

export async function readContent(
  store: ContentStore,
  ctx: NamespacedContext,
  digest: Digest,
): Promise<Buffer> {
  await using reader = await store.open(ctx, digest);
  return Buffer.concat(await Array.fromAsync(reader.stream()));
}

const hello = Buffer.from('hello');
const ref = parseIngestRef('a ref/with:anything ✓');

export function contentStoreSuite(name: string, makeStore: () => Promise<ContentStoreUnderTest>): void {
  describe(`content store: ${name}`, () => {
    test('bytes come back, with size, labels and times', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      const digest = await putContent(store, ctx, hello, { labels: { a: '1', gone: '' } });
      assert.equal(digest, digestOf(hello));
      const info = await store.info(ctx, digest);
      assert.equal(info.sizeBytes, 5);
      assert.deepEqual(info.labels, { a: '1' });
      assert.ok(info.createdAt > 0n && info.createdAt === info.updatedAt);
      assert.deepEqual(await readContent(store, ctx, digest), hello);
      await using reader = await store.open(ctx, digest);
      assert.equal(reader.sizeBytes, 5);
      const into = Buffer.alloc(3);
      assert.equal(await reader.readAt(into, 3), 2);
      assert.equal(into.toString('utf8', 0, 2), 'lo');
      const part = await Array.fromAsync(reader.stream({ offset: 1, lengthBytes: 3 }));
      assert.equal(Buffer.concat(part).toString(), 'ell');
    });

    test('empty content is content', async () => {
      await using made = await makeStore();
      const digest = await putContent(made.store, made.ctx, Buffer.alloc(0));
      assert.equal(digest, digestOf(''));
      assert.equal((await readContent(made.store, made.ctx, digest)).length, 0);
    });

    test('what is not there is NotFound, in every call', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      const absent = digestOf('absent');
      await rejectsWith(store.info(ctx, absent), 'NotFound');
      await rejectsWith(store.update(ctx, { digest: absent, labels: {} }, []), 'NotFound');
      await rejectsWith(store.delete(ctx, absent), 'NotFound');
      await rejectsWith(store.open(ctx, absent), 'NotFound');
      await rejectsWith(store.status(ctx, ref), 'NotFound');
      await rejectsWith(store.abort(ctx, ref), 'NotFound');
    });

    test('a namespace does not see what another has', async () => {
      await using made = await makeStore();
      const { store, ctx, otherCtx } = made;
      const digest = await putContent(store, ctx, hello);
      await rejectsWith(store.info(otherCtx, digest), 'NotFound');
      await rejectsWith(store.open(otherCtx, digest), 'NotFound');
      assert.deepEqual(await Array.fromAsync(store.list(otherCtx, [])), []);
      assert.equal(await putContent(store, otherCtx, hello), digest);
      await store.delete(ctx, digest);
      assert.deepEqual(await readContent(store, otherCtx, digest), hello);
    });

    test('committing again is AlreadyExists and ends the ingest', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      const digest = await putContent(store, ctx, hello);
      await using writer = await store.writer(ctx, { ref });
      await writer.write(hello);
      await rejectsWith(writer.commit(ctx, {}), 'AlreadyExists');
      await rejectsWith(store.status(ctx, ref), 'NotFound');
      await rejectsWith(store.writer(ctx, { ref, expected: digest }), 'AlreadyExists');
    });

    test('a wrong size or digest is FailedPrecondition, and the bytes stay for a resume', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      for (const options of [{ sizeBytes: 4 }, { expected: digestOf('other') }] as const) {
        await using writer = await store.writer(ctx, { ref });
        if (writer.status().offsetBytes === 0) await writer.write(hello);
        await rejectsWith(writer.commit(ctx, options), 'FailedPrecondition');
        await rejectsWith(store.info(ctx, digestOf(hello)), 'NotFound');
      }
      assert.equal((await store.status(ctx, ref)).offsetBytes, 5);
      await using writer = await store.writer(ctx, { ref });
      assert.equal(writer.digest(), digestOf(hello));
      await writer.commit(ctx, { sizeBytes: 5, expected: digestOf(hello) });
    });

    test('one writer a ref: Unavailable for the next, until it lets go', async () => {
      await using made = await makeStore();
      const { store, ctx, otherCtx } = made;
      {
        await using writer = await store.writer(ctx, { ref, totalBytes: 9 });
        await writer.write(hello);
        await assert.rejects(
          store.writer(ctx, { ref }),
          /^ContainerdError: ref a ref\/with:anything ✓ locked for /,
        );
        await rejectsWith(store.writer(ctx, { ref }), 'Unavailable');
        await using other = await store.writer(otherCtx, { ref });
        assert.equal(other.status().offsetBytes, 0);
      }
      await using again = await store.writer(ctx, { ref });
      const status = again.status();
      assert.deepEqual([status.ref, status.offsetBytes, status.totalBytes], [ref, 5, 9]);
      await again.write(Buffer.from(', you'));
      assert.equal(await again.commit(ctx, {}), digestOf('hello, you'));
    });

    test('another total starts afresh; truncating goes to 0 only', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      {
        await using writer = await store.writer(ctx, { ref, totalBytes: 9 });
        await writer.write(hello);
      }
      await using writer = await store.writer(ctx, { ref, totalBytes: 8 });
      assert.deepEqual([writer.status().offsetBytes, writer.status().totalBytes], [0, 8]);
      await writer.write(hello);
      await rejectsWith(writer.truncate(2), 'InvalidArgument');
      await writer.truncate(0);
      assert.equal(writer.digest(), digestOf(''));
      await writer.write(Buffer.from('again'));
      assert.equal(await writer.commit(ctx, { sizeBytes: 5 }), digestOf('again'));
    });

    test('ingests are listed by ref, and aborted', async () => {
      await using made = await makeStore();
      const { store, ctx, otherCtx } = made;
      for (const text of ['one', 'two']) {
        await using writer = await store.writer(ctx, { ref: parseIngestRef(text) });
        await writer.write(Buffer.from(text));
      }
      const refs = async (filters: string[]): Promise<string[]> =>
        (await store.listStatuses(ctx, filters)).map((status) => status.ref);
      assert.deepEqual((await refs([])).toSorted(), ['one', 'two']);
      assert.deepEqual(await refs(['ref==one']), ['one']);
      assert.deepEqual(await refs(['ref~=^t']), ['two']);
      await rejectsWith(refs(['ref==']), 'InvalidArgument');
      assert.deepEqual(await store.listStatuses(otherCtx, []), []);
      await store.abort(ctx, parseIngestRef('one'));
      assert.deepEqual(await refs([]), ['two']);
    });

    test('labels change by mask', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      const digest = await putContent(store, ctx, hello, { labels: { a: '1', 'b.c/d': '2' } });
      const update = async (labels: Record<string, string>, paths: string[]): Promise<unknown> =>
        (await store.update(ctx, { digest, labels }, paths)).labels;
      assert.deepEqual(await update({ 'b.c/d': '3', x: '9' }, ['labels.b.c/d']), { a: '1', 'b.c/d': '3' });
      assert.deepEqual(await update({ a: '' }, ['labels.a']), { 'b.c/d': '3' });
      assert.deepEqual(await update({ z: '1' }, ['labels']), { z: '1' });
      assert.deepEqual(await update({ y: '1' }, []), { y: '1' });
      await rejectsWith(store.update(ctx, { digest, labels: {} }, ['size']), 'InvalidArgument');
      await rejectsWith(
        store.update(ctx, { digest, labels: { k: 'v'.repeat(4096) } }, []),
        'InvalidArgument',
      );
      assert.deepEqual((await store.info(ctx, digest)).labels, { y: '1' });
    });

    test('lists filter by digest and label', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      const one = await putContent(store, ctx, Buffer.from('1'), { labels: { 'a.b': 'x' } });
      const two = await putContent(store, ctx, Buffer.from('2'));
      const found = async (...filters: string[]): Promise<string[]> =>
        (await Array.fromAsync(store.list(ctx, filters))).map(({ digest }) => digest);
      assert.deepEqual(await found(), [one, two].toSorted());
      assert.deepEqual(await found('labels."a.b"==x'), [one]);
      assert.deepEqual(await found('labels.a.b'), [one]);
      assert.deepEqual(await found(`digest==${two}`, 'labels.a.b==x'), [one, two].toSorted());
      await assert.rejects(found('digest=x'), (error) => hasCode(error, 'InvalidArgument'));
    });

    test('any split into writes and resumes gives the same bytes', async () => {
      await using made = await makeStore();
      const { store, ctx } = made;
      const chunk = fc.record({ bytes: fc.uint8Array({ maxLength: 5000 }), reopen: fc.boolean() });
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(chunk, { maxLength: 8 }), async (chunks) => {
          run += 1;
          const own = parseIngestRef(`run ${run}`);
          const salt = Buffer.from(`${run} `);
          const whole = Buffer.concat([salt, ...chunks.map(({ bytes }) => bytes)]);
          let writer = await store.writer(ctx, { ref: own });
          await writer.write(salt);
          for (const { bytes, reopen } of chunks) {
            if (reopen) {
              await writer[Symbol.asyncDispose]();
              writer = await store.writer(ctx, { ref: own });
            }
            await writer.write(bytes);
          }
          const digest = await writer.commit(ctx, { sizeBytes: whole.length });
          assert.equal(digest, `sha256:${createHash('sha256').update(whole).digest('hex')}`);
          assert.deepEqual(await readContent(store, ctx, digest), whole);
        }),
        { numRuns: 25 },
      );
    });
  });
}
