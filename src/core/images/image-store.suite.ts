/** The contract of image stores as tests: run against every implementation. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NamespacedContext } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { parseImageName } from '../../base/identifiers.ts';
import { instantOfNs } from '../../base/time.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import type { ImageStore, NewImage } from './image-store.ts';

export interface ImageStoreUnderTest extends AsyncDisposable {
  readonly images: ImageStore;
  /** Two namespaces. */
  readonly ctx: NamespacedContext;
  readonly otherCtx: NamespacedContext;
}

const digest = digestOf('x');
const target = { mediaType: 'm', digest, sizeBytes: 1 };
const newImage = (name: string, given: Partial<NewImage> = {}): NewImage => ({
  name: parseImageName(name),
  target,
  labels: {},
  ...given,
});

export function imageStoreSuite(name: string, make: () => Promise<ImageStoreUnderTest>): void {
  describe(`image store: ${name}`, () => {
    test('images come back as they were made, in their namespace only', async () => {
      await using made = await make();
      const { images, ctx, otherCtx } = made;
      const large = { ...target, sizeBytes: 2 ** 40, annotations: { a: 'b' } };
      const labels = { k: 'v', gone: '' };
      const created = await images.create(ctx, newImage('x:1', { target: large, labels }));
      assert.deepEqual(await images.get(ctx, created.name), {
        ...created,
        target: large,
        labels: { k: 'v' },
      });
      await rejectsWith(images.get(otherCtx, created.name), 'NotFound');
      await rejectsWith(images.create(ctx, newImage('x:1')), 'AlreadyExists');
      const at = instantOfNs(1_000_000_001n);
      const dated = await images.create(ctx, newImage('y', { at }));
      assert.deepEqual([dated.createdAt, dated.updatedAt], [at, at]);
    });

    test('what is no target is refused', async () => {
      await using made = await make();
      const { images, ctx } = made;
      for (const wrong of [
        { target: { ...target, sizeBytes: 0 } },
        { target: { ...target, mediaType: '' } },
        { labels: { k: 'v'.repeat(5000) } },
      ])
        await rejectsWith(images.create(ctx, newImage('x', wrong)), 'InvalidArgument');
      assert.deepEqual(await images.list(ctx, []), []);
    });

    test('images change by mask', async () => {
      await using made = await make();
      const { images, ctx } = made;
      const annotated = { ...target, annotations: { a: '1', b: '2' } };
      const labels = { a: '1', 'b.c': '2' };
      const created = await images.create(ctx, newImage('x', { target: annotated, labels }));
      const other = { mediaType: 'n', digest: digestOf('y'), sizeBytes: 2, annotations: { a: '3' } };
      const given = newImage('x', { target: other, labels: { 'b.c': '4', z: '5' } });
      const masked = await images.update(ctx, given, ['labels.b.c', 'annotations.a']);
      assert.deepEqual(masked.labels, { a: '1', 'b.c': '4' });
      assert.deepEqual(masked.target, { ...target, annotations: { a: '3', b: '2' } });
      assert.ok(masked.updatedAt > created.updatedAt && masked.createdAt === created.createdAt);
      const bare = { name: created.name, labels: { a: '9' } };
      assert.equal((await images.update(ctx, bare, ['labels.a'])).labels['a'], '9');
      assert.deepEqual((await images.update(ctx, given, ['target'])).target, other);
      assert.deepEqual((await images.update(ctx, given, [])).labels, given.labels);
      await rejectsWith(images.update(ctx, given, ['name']), 'InvalidArgument');
      await rejectsWith(images.update(ctx, newImage('absent'), []), 'NotFound');
    });

    test('deleted only while the target is still the target', async () => {
      await using made = await make();
      const { images, ctx } = made;
      const { name: image } = await images.create(ctx, newImage('x'));
      await rejectsWith(images.delete(ctx, image, { target: digestOf('other') }), 'NotFound');
      await images.delete(ctx, image, { target: digest });
      await rejectsWith(images.delete(ctx, image, {}), 'NotFound');
    });

    test('filters by name, target, label and annotation', async () => {
      await using made = await make();
      const { images, ctx } = made;
      const annotated = { mediaType: 'n', digest: digestOf('2'), sizeBytes: 1, annotations: { 'a.b': 'c' } };
      await images.create(ctx, newImage('one', { labels: { k: 'v' } }));
      await images.create(ctx, newImage('two', { target: annotated }));
      const names = async (...filters: string[]): Promise<string[]> =>
        (await images.list(ctx, filters)).map(({ name: found }) => found);
      assert.deepEqual(await names('name==one'), ['one']);
      assert.deepEqual(await names('target.mediatype==n'), ['two']);
      assert.deepEqual(await names(`target.digest==${digest}`), ['one']);
      assert.deepEqual(await names('annotations.a.b'), ['two']);
      assert.deepEqual(await names('labels.k!=v'), ['two']);
      await rejectsWith(names('name='), 'InvalidArgument');
    });
  });
}
