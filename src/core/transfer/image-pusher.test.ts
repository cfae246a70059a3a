/** Pushes: what the registry holds afterwards, in which order it came, and what was not sent. Tags. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseImageName } from '../../base/identifiers.ts';
import { ingestRefOf } from '../../oci/media-types.ts';
import { hostPlatform, type Platform } from '../../oci/platform.ts';
import { type BuiltImage, buildImage, publish } from '../../testing/registry/image-builder.ts';
import { TransferFixture } from './transfer.fixture.ts';

const other: Platform = { os: 'linux', architecture: 's390x' };
const sample = (mark: string, platform = hostPlatform()): BuiltImage =>
  buildImage([{ base: `base ${mark}` }, { top: `top ${mark}` }], { platform });

/** A fixture whose store holds an image that was pulled from `sample:latest`. */
async function pulled(
  images: BuiltImage | readonly BuiltImage[],
  options: Parameters<typeof TransferFixture.make>[0] = {},
): Promise<TransferFixture> {
  const fixture = await TransferFixture.make(options);
  publish(fixture.remote.storage, 'sample', 'latest', images);
  await fixture.pull({ name: 'mine', platforms: [], unpacks: [] });
  fixture.remote.requests.length = 0;
  return fixture;
}

const writes = (fixture: TransferFixture): string[] =>
  fixture.remote.seen().filter((request) => !/^(?:HEAD|GET) /.test(request));

void describe('push', () => {
  void it('sends blobs, then manifests from the inside out, the tag last', async () => {
    const [foreign, mine] = [sample('foreign', other), sample('mine')];
    await using fixture = await pulled([foreign, mine]);
    const to = await TransferFixture.make();
    await using _ = to;
    const { storage } = to.remote;
    await fixture.push('mine', to.reference('copy:v1'));

    const { target } = await fixture.store.images.get(fixture.ctx, parseImageName('mine'));
    for (const image of [foreign, mine]) {
      assert.deepEqual(storage.manifest('copy', image.descriptor.digest)?.bytes, image.manifest);
      for (const { descriptor, bytes } of image.layers)
        assert.deepEqual(storage.blob('copy', descriptor.digest), bytes);
      assert.deepEqual(storage.blob('copy', image.configDescriptor.digest), image.config);
    }
    assert.deepEqual(storage.tags('copy'), ['v1']);
    assert.equal(storage.manifest('copy', 'v1')?.mediaType, target.mediaType);
    const order = writes(to).map((request) => (request.includes('/manifests/') ? 'manifest' : 'blob'));
    assert.deepEqual(order, [...order.filter((kind) => kind === 'blob'), ...Array(3).fill('manifest')]);
    assert.match(writes(to).at(-1) ?? '', /manifests\/v1$/);
  });

  void it('sends nothing that is there', async () => {
    await using fixture = await pulled(sample('mine'));
    await fixture.push('mine', fixture.reference());
    assert.deepEqual(writes(fixture), []);
  });

  void it('has blobs mounted that another repository of the registry holds', async () => {
    const image = sample('mine');
    await using fixture = await pulled(image);
    await fixture.push('mine', fixture.reference('copy:v1'));
    const sent = writes(fixture);
    assert.equal(sent.filter((request) => request.startsWith('PUT /v2/copy/blobs')).length, 0);
    assert.equal(sent.filter((request) => request.startsWith('POST')).length, 3);
    for (const { descriptor } of image.layers)
      assert.ok(fixture.remote.storage.blob('copy', descriptor.digest));
  });

  void it('only the platforms asked for', async () => {
    const mine = sample('mine');
    await using fixture = await pulled([sample('foreign', other), mine]);
    await using to = await TransferFixture.make();
    await fixture.push('mine', to.reference('copy:v1'), [hostPlatform()]);
    assert.ok(to.remote.storage.manifest('copy', mine.descriptor.digest));
    assert.equal(writes(to).filter((request) => request.includes('/manifests/')).length, 2);
  });

  void it('says which content is missing, before anything names it', async () => {
    const image = sample('mine');
    await using fixture = await pulled(image);
    await using to = await TransferFixture.make();
    const gone = image.layers[0]!.descriptor.digest;
    await fixture.store.content.delete(fixture.ctx, gone);
    await assert.rejects(fixture.push('mine', to.reference('copy:v1')), {
      code: 'NotFound',
      message: new RegExp(gone),
    });
    assert.deepEqual(to.remote.storage.tags('copy'), []);
    await assert.rejects(fixture.push('absent', to.reference('copy:v1')), { code: 'NotFound' });
  });

  void it('survives a server that is out of order for a moment, and fails with one that is for good', async () => {
    await using fixture = await pulled(sample('mine'));
    await using to = await TransferFixture.make();
    to.remote.faults.add({
      method: 'POST',
      path: '/blobs/uploads/',
      effect: { kind: 'status', status: 503 },
    });
    await fixture.push('mine', to.reference('copy:v1'));
    assert.deepEqual(to.remote.storage.tags('copy'), ['v1']);
    const effect = { kind: 'status', status: 500 } as const;
    to.remote.faults.add({ method: 'PUT', path: '/manifests/', effect, times: 1000 });
    await assert.rejects(fixture.push('mine', to.reference('copy:v2')), { code: 'Unavailable' });
    assert.deepEqual(to.remote.storage.tags('copy'), ['v1']);
  });

  void it('with credentials, and not without', async () => {
    const auth = { kind: 'bearer', username: 'me', password: 'secret', anonymousPull: true } as const;
    await using fixture = await pulled(sample('mine'));
    await using to = await TransferFixture.make({ auth });
    await assert.rejects(fixture.push('mine', to.reference('copy:v1')), ({ code }: { code: string }) =>
      ['Unauthenticated', 'PermissionDenied'].includes(code),
    );
    await fixture.push('mine', to.reference('copy:v1'), [], async () => ({
      kind: 'basic',
      username: 'me',
      secret: 'secret',
    }));
    assert.deepEqual(to.remote.storage.tags('copy'), ['v1']);
  });

  void it('tells its watchers in words and order of containerd', async () => {
    const image = sample('mine');
    await using fixture = await pulled([image]);
    await using to = await TransferFixture.make();
    fixture.progress.length = 0;
    await fixture.push('mine', to.reference('copy:v1'));
    const { progress } = fixture;
    const { target } = await fixture.store.images.get(fixture.ctx, parseImageName('mine'));
    const registry = `OCI Registry (${to.reference('copy:v1')})`;
    assert.deepEqual(
      [...progress.slice(0, 4), ...progress.slice(-2)].map(({ event, name }) => [event, name]),
      [
        [`Pushing to ${registry}`, ''],
        ['pushing content', 'mine'],
        ['waiting', ingestRefOf(target)],
        ['waiting', ingestRefOf(image.descriptor)],
        ['pushed content', 'mine'],
        [`Completed push to ${registry}`, ''],
      ],
    );
    const known = new Set<string>();
    for (const { name, parents } of progress) {
      for (const parent of parents) assert.ok(known.has(parent), `${name} came before ${parent}`);
      known.add(name);
    }
    assert.equal(progress.filter(({ event }) => event === 'complete').length, 5);
  });
});

void describe('tag', () => {
  const into = { labels: {}, platforms: [], allMetadata: false, manifestLimit: 0, unpacks: [] };

  void it('gives another name, and moves it', async () => {
    await using fixture = await pulled(sample('mine'));
    const { store, ctx, transfers } = fixture;
    const { target } = await store.images.get(ctx, parseImageName('mine'));
    await transfers.tag(ctx, 'mine', { ...into, name: 'other', labels: { a: 'b' } });
    const tagged = await store.images.get(ctx, parseImageName('other'));
    assert.deepEqual([tagged.target, tagged.labels], [target, { a: 'b' }]);
    publish(fixture.remote.storage, 'sample', 'latest', sample('newer'));
    const newer = await fixture.pull({ name: 'mine' });
    await transfers.tag(ctx, 'mine', { ...into, name: 'other' });
    assert.deepEqual((await store.images.get(ctx, parseImageName('other'))).target, newer.target);
  });

  void it('needs an image', async () => {
    await using fixture = await TransferFixture.make();
    const { transfers, ctx } = fixture;
    await assert.rejects(transfers.tag(ctx, 'absent', { ...into, name: 'x' }), { code: 'NotFound' });
  });
});
