/** Pulls over a registry that misbehaves, that are cut off, or that are told lies; and several pulls at once. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Deferred, deferred } from '../../base/deferred.ts';
import { type Digest, digestOf } from '../../base/digest.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { chainIds } from '../../oci/chain-id.ts';
import { type Descriptor, descriptorJson } from '../../oci/descriptor.ts';
import { ingestRefOf, mediaTypes } from '../../oci/media-types.ts';
import { hostPlatform } from '../../oci/platform.ts';
import {
  type BuiltImage,
  buildImage,
  buildIndex,
  buildLayer,
  descriptorOf,
  publish,
} from '../../testing/registry/image-builder.ts';
import type { FaultEffect } from '../../testing/registry/registry-faults.ts';
import { TransferFixture } from './transfer-fixture.suite.ts';

/** Bytes that do not compress, so that there is something to cut. */
const noise = (sizeBytes: number, seed: number): Buffer => {
  const bytes = Buffer.alloc(sizeBytes);
  let state = seed;
  for (let index = 0; index < sizeBytes; index += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
};

const sample = (): BuiltImage =>
  buildImage([{ base: noise(200_000, 1) }, { top: noise(150_000, 2) }], { platform: hostPlatform() });

const published = async (
  options: Parameters<typeof TransferFixture.make>[0] = {},
): Promise<{ fixture: TransferFixture; image: BuiltImage; bottom: Descriptor; top: Descriptor }> => {
  const fixture = await TransferFixture.make(options);
  const image = sample();
  publish(fixture.remote.storage, 'sample', 'latest', image);
  const [bottom, top] = image.layers.map(({ descriptor }) => descriptor);
  return { fixture, image, bottom: bottom!, top: top! };
};

const hold = (afterBytes: number): FaultEffect & { reached: Deferred; release: Deferred } => ({
  kind: 'hold',
  afterBytes,
  reached: deferred(),
  release: deferred(),
});

const chainsOf = (image: BuiltImage): Digest[] => chainIds(image.layers.map(({ diffId }) => diffId));

/** Nothing is visible of a pull that failed, nothing of it is running, and all its locks are free. */
async function assertNothingLeft(fixture: TransferFixture, pieces: readonly Descriptor[]): Promise<void> {
  const { store, ctx } = fixture;
  assert.deepEqual(await store.images.list(ctx, []), []);
  assert.deepEqual(
    (await fixture.snapshots()).filter(({ kind }) => kind !== 'committed'),
    [],
  );
  for (const piece of pieces) {
    const ref = parseIngestRef(ingestRefOf(piece));
    if ((await fixture.digests()).includes(piece.digest)) continue;
    await using writer = await store.content.writer(ctx, { ref, totalBytes: piece.sizeBytes });
    assert.ok(writer.status().offsetBytes <= piece.sizeBytes);
  }
}

void describe('a registry that misbehaves', () => {
  for (const effect of [
    { kind: 'status', status: 503 },
    { kind: 'status', status: 429, headers: { 'retry-after': '0' } },
    { kind: 'reset' },
  ] as const satisfies FaultEffect[])
    void it(`is asked again after ${effect.kind} ${'status' in effect ? effect.status : ''}`, async () => {
      const { fixture, top } = await published();
      await using _ = fixture;
      fixture.remote.faults.add({ path: top.digest, effect });
      fixture.remote.faults.add({ path: '/manifests/latest', effect });
      await fixture.pull();
      assert.equal(fixture.requestsFor(top.digest).length, 2);
      assert.equal((await fixture.snapshots()).length, 2);
    });

  void it('is not asked for ever', async () => {
    const { fixture, top } = await published();
    await using _ = fixture;
    fixture.remote.faults.add({ path: top.digest, effect: { kind: 'status', status: 500 }, times: 1000 });
    await assert.rejects(fixture.pull(), { code: 'Unavailable', message: /status 500/ });
    await assertNothingLeft(fixture, [top]);
  });

  for (const redirectBlobs of [false, true])
    void it(`goes on where it was cut${redirectBlobs ? ', at the storage it redirects to' : ''}`, async () => {
      const { fixture, top } = await published({ redirectBlobs });
      await using _ = fixture;
      fixture.remote.faults.add({ path: top.digest, effect: { kind: 'cut', afterBytes: 100_000 } });
      await fixture.pull();
      const [first, second] = fixture
        .requestsFor(top.digest)
        .filter(({ redirected }) => redirected === redirectBlobs);
      assert.equal(first?.headers.range, undefined);
      const from = Number(/^bytes=(\d+)-$/.exec(second?.headers.range ?? '')?.[1]);
      assert.ok(from > 0 && from <= 100_000, `${from}`);
      assert.equal((await fixture.snapshots()).length, 2);
    });

  void it('without ranges begins anew after a cut', async () => {
    const { fixture, top } = await published({ omitRanges: true });
    await using _ = fixture;
    fixture.remote.faults.add({ path: top.digest, effect: { kind: 'cut', afterBytes: 100_000 } });
    await fixture.pull();
    assert.equal(fixture.requestsFor(top.digest).length, 2);
    assert.equal((await fixture.snapshots()).length, 2);
  });

  void it('that sends other bytes is refused, and they are not kept', async () => {
    const { fixture, top, bottom } = await published();
    await using _ = fixture;
    fixture.remote.faults.add({ path: top.digest, effect: { kind: 'corrupt' } });
    await assert.rejects(fixture.pull(), { code: 'FailedPrecondition', message: new RegExp(top.digest) });
    assert.equal((await fixture.digests()).includes(top.digest), false);
    const statuses = await fixture.store.content.listStatuses(fixture.ctx, []);
    assert.equal(
      statuses.some(({ ref }) => ref === ingestRefOf(top)),
      false,
    );
    await assertNothingLeft(fixture, [top, bottom]);
    await fixture.pull();
    assert.equal((await fixture.snapshots()).length, 2);
  });

  void it('that had sent other bytes before a cut is asked for the whole again', async () => {
    const { fixture, top } = await published();
    await using _ = fixture;
    const { content } = fixture.store;
    {
      const ref = parseIngestRef(ingestRefOf(top));
      await using writer = await content.writer(fixture.ctx, { ref, totalBytes: top.sizeBytes });
      await writer.write(Buffer.alloc(1000, 'wrong'));
    }
    await fixture.pull();
    assert.deepEqual(
      fixture.requestsFor(top.digest).map(({ headers }) => headers.range),
      ['bytes=1000-', undefined],
    );
  });

  void it('that announces another length is refused', async () => {
    const { fixture, top } = await published();
    await using _ = fixture;
    const headers = { 'content-length': String(top.sizeBytes + 5) };
    fixture.remote.faults.add({ path: top.digest, effect: { kind: 'header', headers }, times: 100 });
    await assert.rejects(fixture.pull(), { code: 'Unavailable' });
    await assertNothingLeft(fixture, [top]);
  });

  void it('that names another digest for a manifest is refused', async () => {
    const { fixture, image } = await published();
    await using _ = fixture;
    const headers = { 'docker-content-digest': digestOf('other') };
    fixture.remote.faults.add({
      path: `/manifests/${image.descriptor.digest}`,
      effect: { kind: 'header', headers },
    });
    const byDigest = fixture.reference(`sample@${image.descriptor.digest}`);
    await assert.rejects(fixture.pull({}, byDigest), { code: 'Unavailable' });
  });

  void it('that has no such image is believed', async () => {
    const { fixture } = await published();
    await using _ = fixture;
    await assert.rejects(fixture.pull({}, fixture.reference('sample:absent')), { code: 'NotFound' });
    await assert.rejects(fixture.pull({}, fixture.reference('absent:latest')), { code: 'NotFound' });
    assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
  });

  void it('that lacks a layer fails the pull with its digest', async () => {
    const { fixture, top } = await published();
    await using _ = fixture;
    fixture.remote.faults.add({ path: top.digest, effect: { kind: 'status', status: 404 }, times: 100 });
    await assert.rejects(fixture.pull(), { code: 'NotFound', message: new RegExp(top.digest) });
  });

  void it('that wants to know who asks is told, and nobody else is', async () => {
    const auth = { kind: 'bearer', username: 'me', password: 'secret' } as const;
    const { fixture } = await published({ auth, redirectBlobs: true });
    await using _ = fixture;
    await assert.rejects(fixture.pull(), { code: 'Unauthenticated' });
    const asked: string[] = [];
    await fixture.pull({
      credentials: async ({ host }) => {
        asked.push(host);
        return { kind: 'basic', username: 'me', secret: 'secret' };
      },
    });
    assert.deepEqual(asked, [fixture.remote.host]);
    for (const { redirected, headers } of fixture.remote.requests)
      if (redirected) assert.equal(headers.authorization, undefined);
  });
});

void describe('a pull that is given up', () => {
  void it('ends at once, leaves nothing open, and the next goes on where it was', async () => {
    const { fixture, top, bottom } = await published();
    await using _ = fixture;
    const effect = hold(100_000);
    fixture.remote.faults.add({ path: top.digest, effect });
    const aborter = new AbortController();
    const moving = fixture.reported('downloading', top);
    const pulling = fixture.pull({ ctx: fixture.within('default', aborter.signal) });
    await moving;
    aborter.abort();
    await assert.rejects(pulling, { code: 'Canceled' });
    effect.release.resolve();
    await assertNothingLeft(fixture, [top, bottom]);

    await fixture.pull();
    const second = fixture.requestsFor(top.digest)[1];
    assert.match(second?.headers.range ?? '', /^bytes=[1-9]\d*-$/);
    assert.equal((await fixture.snapshots()).length, 2);
    assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
  });

  void it('keeps what was verified from collection, under a lease that expires', async () => {
    const { fixture, top, bottom } = await published();
    await using _ = fixture;
    fixture.remote.faults.add({ path: top.digest, effect: { kind: 'status', status: 404 }, times: 100 });
    await assert.rejects(fixture.pull({ unpacks: [] }), { code: 'NotFound' });
    const [lease, ...others] = await fixture.store.leases.list(fixture.ctx, []);
    assert.deepEqual(others, []);
    const expiresAt = Date.parse(lease?.labels['containerd.io/gc.expire'] ?? '');
    const lifetimeMs = expiresAt - Date.now();
    assert.ok(lifetimeMs > limits.transferLeaseMs - 60_000 && lifetimeMs <= limits.transferLeaseMs);

    const before = await fixture.digests();
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(await fixture.digests(), before);
    fixture.remote.faults.clear();
    await fixture.pull();
    const layers = [bottom, top].filter(({ digest }) => before.includes(digest));
    for (const { digest } of layers) assert.equal(fixture.requestsFor(digest).length, 1);
    assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
  });

  void it('does not take down one that waits for the same layer', async () => {
    const { fixture, top } = await published();
    await using _ = fixture;
    const effect = hold(1000);
    fixture.remote.faults.add({ path: top.digest, effect });
    const aborter = new AbortController();
    const first = fixture.pull({ ctx: fixture.within('default', aborter.signal) });
    await effect.reached.promise;
    const second = fixture.pull();
    aborter.abort();
    effect.release.resolve();
    await assert.rejects(first, { code: 'Canceled' });
    await second;
    assert.equal((await fixture.store.images.list(fixture.ctx, [])).length, 1);
    await fixture.collector.run(fixture.ctx);
    assert.equal((await fixture.snapshots()).length, 2);
  });
});

void describe('pulls at the same time', () => {
  void it('fetch and unpack each layer once', async () => {
    const { fixture, image } = await published();
    await using _ = fixture;
    await Promise.all(Array.from({ length: 5 }, (_value, index) => fixture.pull({ name: `image-${index}` })));
    assert.equal((await fixture.store.images.list(fixture.ctx, [])).length, 5);
    for (const { descriptor } of image.layers) {
      assert.equal(fixture.requestsFor(descriptor.digest).length, 1);
      assert.equal(fixture.differ.applied.filter((digest) => digest === descriptor.digest).length, 1);
    }
    assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
  });

  void it('in two namespaces fetch each layer once, and unpack it in both', async () => {
    const { fixture, image } = await published();
    await using _ = fixture;
    const elsewhere = fixture.within('elsewhere');
    await Promise.all([fixture.pull(), fixture.pull({ ctx: elsewhere })]);
    for (const { descriptor } of image.layers) assert.equal(fixture.requestsFor(descriptor.digest).length, 1);
    assert.equal((await fixture.snapshots()).length, 2);
    assert.equal((await fixture.snapshots(elsewhere)).length, 2);
  });

  void it('take no more than three bodies at once', async () => {
    await using fixture = await TransferFixture.make();
    const image = buildImage(
      Array.from({ length: 6 }, (_value, index) => ({ [`f${index}`]: noise(5000, index) })),
      { platform: hostPlatform() },
    );
    publish(fixture.remote.storage, 'sample', 'latest', image);
    const holds = image.layers.map(({ descriptor }) => {
      const effect = hold(10);
      fixture.remote.faults.add({ path: descriptor.digest, effect });
      return effect;
    });
    const pulling = fixture.pull();
    const bodies = (): number =>
      image.layers.reduce((sum, { descriptor }) => sum + fixture.requestsFor(descriptor.digest).length, 0);
    let seen = 0;
    const three = deferred();
    for (const { reached } of holds)
      void reached.promise.then(() => {
        seen += 1;
        if (seen === 3) three.resolve();
      });
    await three.promise;
    // A fourth would have been sent before this and arrived before its answer.
    await fetch(`${fixture.remote.url}/v2/`);
    assert.equal(bodies(), 3);
    for (const { release } of holds) release.resolve();
    await pulling;
  });
});

void describe('images that lie', () => {
  void it('about a diffID: the layer is not committed, both digests are named', async () => {
    await using fixture = await TransferFixture.make();
    const [bottom, top] = [buildLayer({ a: 'a' }), buildLayer({ b: 'b' })];
    const wrong = digestOf('something else');
    const image = buildImage([bottom, top], { platform: hostPlatform(), diffIds: [bottom.diffId, wrong] });
    publish(fixture.remote.storage, 'sample', 'latest', image);
    await assert.rejects(fixture.pull(), ({ code, message }: Error & { code: string }) => {
      assert.equal(code, 'FailedPrecondition');
      assert.ok(message.includes(wrong) && message.includes(top.diffId), message);
      return true;
    });
    await assertNothingLeft(fixture, []);
    assert.deepEqual(
      (await fixture.snapshots()).map(({ key }) => key as string),
      [bottom.diffId],
    );
  });

  const refused: Record<string, (fixture: TransferFixture) => { code: string; message?: RegExp }> = {
    'about how many layers there are': ({ remote }) => {
      const image = buildImage([{ a: 'a' }], { platform: hostPlatform(), diffIds: [] });
      publish(remote.storage, 'sample', 'latest', image);
      return { code: 'InvalidArgument', message: /1 layers .*0 diffIDs/ };
    },
    'by being no JSON': ({ remote }) => {
      remote.storage.addManifest('sample', mediaTypes.ociManifest, Buffer.from('{"config":'), 'latest');
      return { code: 'InvalidArgument', message: /not valid JSON/ };
    },
    'by being an index that has layers': ({ remote }) => {
      const bytes = Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[]}');
      remote.storage.addManifest('sample', mediaTypes.ociIndex, bytes, 'latest');
      return { code: 'InvalidArgument', message: /announced as an index/ };
    },
    'about the size of a layer': ({ remote }) => {
      const layer = buildLayer({ a: noise(3000, 7) });
      const short = { ...layer, descriptor: { ...layer.descriptor, sizeBytes: 100 } };
      publish(remote.storage, 'sample', 'latest', buildImage([short], { platform: hostPlatform() }));
      return { code: 'Unavailable', message: /100/ };
    },
    'about the path of a file': ({ remote }) => {
      const image = buildImage([{ '../../../../tmp/escaped': 'x' }], { platform: hostPlatform() });
      publish(remote.storage, 'sample', 'latest', image);
      return { code: 'InvalidArgument', message: /escaped/ };
    },
    'about being a layer at all': ({ remote }) => {
      const layer = buildLayer(Buffer.from('this is no tar archive, whatever it says'.repeat(50)));
      publish(remote.storage, 'sample', 'latest', buildImage([layer], { platform: hostPlatform() }));
      return { code: 'InvalidArgument' };
    },
    'with a manifest that is too large': ({ remote }) => {
      const bytes = Buffer.alloc(limits.manifestBytes + 1, ' ');
      remote.storage.addManifest('sample', mediaTypes.ociManifest, bytes, 'latest');
      return { code: 'InvalidArgument', message: /more than the \d+ allowed/ };
    },
    "by being of Docker's schema 1": ({ remote }) => {
      remote.storage.addManifest('sample', mediaTypes.dockerSchema1Signed, Buffer.from('{}'), 'latest');
      return { code: 'InvalidArgument', message: /schema 1/ };
    },
    'with indexes nested without end': ({ remote }) => {
      let inner = descriptorOf(mediaTypes.ociManifest, Buffer.from('{}'));
      for (let depth = 0; depth < limits.indexDepth + 2; depth += 1) {
        const index = buildIndex([], { extra: [inner] });
        remote.storage.addManifest('sample', mediaTypes.ociIndex, index.bytes, 'latest');
        inner = index.descriptor;
      }
      return { code: 'InvalidArgument', message: /indexes within each other/ };
    },
    'with a digest of an unknown kind': ({ remote }) => {
      const layer = { mediaType: mediaTypes.ociLayerGzip, digest: 'md5:00', size: 1 };
      const config = descriptorJson(descriptorOf(mediaTypes.ociConfig, Buffer.from('{}')));
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [layer] }));
      remote.storage.addManifest('sample', mediaTypes.ociManifest, bytes, 'latest');
      return { code: 'InvalidArgument', message: /md5/ };
    },
    'with a layer that none can extract': ({ remote }) => {
      const layer = buildLayer({ a: 'a' });
      const odd = {
        ...layer,
        descriptor: { ...layer.descriptor, mediaType: 'application/vnd.oci.image.layer.v1.tar+lz9' },
      };
      publish(remote.storage, 'sample', 'latest', buildImage([odd], { platform: hostPlatform() }));
      return { code: 'Unimplemented', message: /lz9/ };
    },
  };
  for (const [what, arrange] of Object.entries(refused))
    void it(`${what} are refused`, async () => {
      await using fixture = await TransferFixture.make();
      const expected = arrange(fixture);
      await assert.rejects(fixture.pull(), expected);
      await assertNothingLeft(fixture, []);
    });

  void it('with indexes that name each other many times over cost no more than what they are', async () => {
    await using fixture = await TransferFixture.make();
    const { storage } = fixture.remote;
    const mine = buildImage([{ a: 'a' }], { platform: hostPlatform() });
    publish(storage, 'sample', 'inner', mine);
    let inner: Descriptor = mine.descriptor;
    for (let depth = 0; depth < limits.indexDepth; depth += 1) {
      const index = buildIndex([], { extra: Array.from({ length: 50 }, () => inner) });
      storage.addManifest('sample', mediaTypes.ociIndex, index.bytes, 'latest');
      inner = index.descriptor;
    }
    await fixture.pull();
    assert.deepEqual(
      (await fixture.snapshots()).map(({ key }) => key as string),
      chainsOf(mine),
    );
  });

  void it('but name one layer twice get it twice in the chain and once over the network', async () => {
    await using fixture = await TransferFixture.make();
    const layer = buildLayer({ a: 'a' });
    const image = buildImage([layer, layer, layer], { platform: hostPlatform() });
    publish(fixture.remote.storage, 'sample', 'latest', image);
    await fixture.pull();
    assert.equal((await fixture.snapshots()).length, 3);
    assert.equal(fixture.requestsFor(layer.descriptor.digest).length, 1);
  });
});
