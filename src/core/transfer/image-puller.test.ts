/** Pulls that go well: what is in the stores afterwards, what was asked of the registry, what watchers were told. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { withLease } from '../../base/context.ts';
import { deferred } from '../../base/deferred.ts';
import type { Digest } from '../../base/digest.ts';
import { parseImageName, parseLeaseId } from '../../base/identifiers.ts';
import { chainIds } from '../../oci/chain-id.ts';
import { ingestRefOf } from '../../oci/media-types.ts';
import { hostPlatform, type Platform } from '../../oci/platform.ts';
import {
  type BuiltImage,
  buildImage,
  buildIndex,
  buildLayer,
  publish,
} from '../../testing/registry/image-builder.ts';
import { TransferFixture } from './transfer.fixture.ts';

const other: Platform = { os: 'linux', architecture: 's390x' };

const sample = (platform = hostPlatform(), mark = ''): BuiltImage =>
  buildImage(
    [
      buildLayer({ 'etc/': {}, 'etc/base': `base ${mark}`, 'etc/gone': 'x' }),
      buildLayer({ 'etc/.wh.gone': '', 'etc/middle': 'middle' }, { compression: 'zstd' }),
      buildLayer({ 'etc/top': 'top' }, { compression: 'none' }),
    ],
    { platform },
  );

const chainsOf = (image: BuiltImage): Digest[] => chainIds(image.layers.map(({ diffId }) => diffId));
const digestsOf = (image: BuiltImage): Digest[] => [
  image.descriptor.digest,
  image.configDescriptor.digest,
  ...image.layers.map(({ descriptor }) => descriptor.digest),
];
const sorted = (values: Iterable<string>): string[] => [...values].sort();

void describe('pull', () => {
  void it('brings in the wanted platform, unpacked, labelled and named', async () => {
    await using fixture = await TransferFixture.make();
    const { store, ctx } = fixture;
    const mine = sample();
    const target = publish(fixture.remote.storage, 'sample', 'latest', [sample(other, 'other'), mine]);

    const pulled = await fixture.pull({ labels: { a: 'b' } });

    assert.deepEqual(pulled, { name: fixture.reference(), target });
    const image = await store.images.get(ctx, parseImageName(fixture.reference()));
    assert.deepEqual([image.target, image.labels], [target, { a: 'b' }]);
    assert.deepEqual(sorted(await fixture.digests()), sorted([target.digest, ...digestsOf(mine)]));
    assert.deepEqual(
      sorted((await fixture.snapshots()).map(({ key, kind }) => `${kind} ${key}`)),
      sorted(chainsOf(mine).map((chain) => `committed ${chain}`)),
    );
    const root = await fixture.rootOf(chainsOf(mine)[2]!);
    assert.equal(readFileSync(join(root, 'etc/base'), 'utf8'), 'base ');
    assert.equal(readFileSync(join(root, 'etc/top'), 'utf8'), 'top');
    assert.throws(() => readFileSync(join(root, 'etc/gone')), { code: 'ENOENT' });
    assert.deepEqual(await store.leases.list(ctx, []), []);
    assert.deepEqual(await store.content.listStatuses(ctx, []), []);
  });

  void it("writes containerd's labels on content and snapshots", async () => {
    await using fixture = await TransferFixture.make();
    const { store, ctx, remote } = fixture;
    const [foreign, mine] = [sample(other, 'other'), sample()];
    const target = publish(remote.storage, 'sample', 'latest', [foreign, mine]);
    await fixture.pull();
    const labelsOf = async (digest: Digest) => (await store.content.info(ctx, digest)).labels;
    const source = { [`containerd.io/distribution.source.${remote.host}`]: 'sample' };
    assert.deepEqual(await labelsOf(target.digest), {
      ...source,
      'containerd.io/gc.ref.content.m.0': foreign.descriptor.digest,
      'containerd.io/gc.ref.content.m.1': mine.descriptor.digest,
    });
    assert.deepEqual(await labelsOf(mine.descriptor.digest), {
      ...source,
      'containerd.io/gc.ref.content.config': mine.configDescriptor.digest,
      'containerd.io/gc.ref.content.l.0': mine.layers[0]!.descriptor.digest,
      'containerd.io/gc.ref.content.l.1': mine.layers[1]!.descriptor.digest,
      'containerd.io/gc.ref.content.l.2': mine.layers[2]!.descriptor.digest,
    });
    const chains = chainsOf(mine);
    assert.deepEqual(await labelsOf(mine.configDescriptor.digest), {
      ...source,
      'containerd.io/gc.ref.snapshot.native': chains[2],
    });
    for (const { descriptor, diffId } of mine.layers)
      assert.deepEqual(await labelsOf(descriptor.digest), {
        ...source,
        'containerd.io/uncompressed': diffId,
      });
    for (const { key, labels } of await fixture.snapshots())
      assert.deepEqual(labels, { 'containerd.io/snapshot.ref': key });
  });

  void it('a collection afterwards takes nothing; one after the image is gone takes all', async () => {
    await using fixture = await TransferFixture.make();
    publish(fixture.remote.storage, 'sample', 'latest', sample());
    await fixture.pull();
    const [digests, snapshots] = [await fixture.digests(), await fixture.snapshots()];
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual([await fixture.digests(), await fixture.snapshots()], [digests, snapshots]);
    await fixture.store.images.delete(fixture.ctx, parseImageName(fixture.reference()), {});
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual([await fixture.digests(), await fixture.snapshots()], [[], []]);
  });

  void it('tells its watchers in words and order of containerd', async () => {
    await using fixture = await TransferFixture.make();
    const mine = sample();
    const target = publish(fixture.remote.storage, 'sample', 'latest', [mine]);
    await fixture.pull();
    const from = `OCI Registry (${fixture.reference()})`;
    const stages = fixture.progress.filter(({ parents, descriptor }) => parents.length === 0 && !descriptor);
    assert.deepEqual(
      stages.map(({ event, name }) => [event, name]),
      [
        [`Resolving from ${from}`, ''],
        [`Pulling from ${from}`, ''],
        ['fetching image content', fixture.reference()],
      ],
    );
    assert.deepEqual(
      fixture.progress.slice(-2).map(({ event, name, descriptor }) => [event, name, descriptor]),
      [
        ['saved', fixture.reference(), target],
        [`Completed pull from ${from}`, '', target],
      ],
    );
    // Clients hang each node under its parent, which they must have seen before.
    const known = new Set<string>();
    for (const { name, parents, descriptor } of fixture.progress) {
      if (descriptor !== undefined) for (const parent of parents) assert.ok(known.has(parent), parent);
      known.add(name);
    }
    const layer = mine.layers[0]!.descriptor;
    const steps = fixture.progress.filter(({ name }) => name === ingestRefOf(layer));
    assert.deepEqual(
      [...new Set(steps.map(({ event }) => event))],
      ['waiting', 'downloading', 'complete', 'extracting', 'extracted'],
    );
    assert.deepEqual(steps[0]!.parents, [ingestRefOf(mine.descriptor)]);
    for (const { progress, total } of steps) assert.ok(progress <= total && total === layer.sizeBytes);
  });

  void it('asks for nothing but the tag when all is there', async () => {
    await using fixture = await TransferFixture.make();
    publish(fixture.remote.storage, 'sample', 'latest', [sample()]);
    await fixture.pull();
    const before = fixture.remote.requests.length;
    const applied = fixture.differ.applied.length;
    await fixture.pull();
    assert.deepEqual(fixture.remote.seen().slice(before), ['HEAD /v2/sample/manifests/latest']);
    assert.equal(fixture.differ.applied.length, applied);
  });

  void it('moves the image when the tag has moved, and keeps what both share', async () => {
    await using fixture = await TransferFixture.make();
    const shared = buildLayer({ shared: 'shared' });
    const before = buildImage([shared, { a: 'before' }], { platform: hostPlatform() });
    const after = buildImage([shared, { a: 'after' }], { platform: hostPlatform() });
    publish(fixture.remote.storage, 'sample', 'latest', before);
    await fixture.pull({ labels: { old: 'x' } });
    const target = publish(fixture.remote.storage, 'sample', 'latest', after);
    await fixture.pull();
    const image = await fixture.store.images.get(fixture.ctx, parseImageName(fixture.reference()));
    assert.deepEqual([image.target, image.labels], [target, {}]);
    assert.equal(fixture.requestsFor(shared.descriptor.digest).length, 1);
    assert.equal(fixture.differ.applied.filter((digest) => digest === shared.descriptor.digest).length, 1);
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(sorted(await fixture.digests()), sorted(digestsOf(after)));
  });

  void it('stores under the name asked for, by digest too', async () => {
    await using fixture = await TransferFixture.make();
    const target = publish(fixture.remote.storage, 'sample', 'latest', sample());
    await fixture.pull({ name: 'any name' }, fixture.reference(`sample@${target.digest}`));
    const images = await fixture.store.images.list(fixture.ctx, []);
    assert.deepEqual(
      images.map((image) => [image.name, image.target.digest]),
      [['any name', target.digest]],
    );
  });

  void it("works under the caller's lease and leaves it alone", async () => {
    await using fixture = await TransferFixture.make();
    const { store } = fixture;
    const mine = sample();
    publish(fixture.remote.storage, 'sample', 'latest', mine);
    const id = parseLeaseId('mine');
    await store.leases.create(fixture.ctx, { id, labels: {} });
    await fixture.pull({ ctx: withLease(fixture.ctx, id) });
    assert.deepEqual(
      (await store.leases.list(fixture.ctx, [])).map((lease) => lease.id),
      [id],
    );
    const resources = (await store.leases.listResources(fixture.ctx, id)).map((resource) => resource.id);
    for (const digest of digestsOf(mine)) assert.ok(resources.includes(digest), digest);
    await store.images.delete(fixture.ctx, parseImageName(fixture.reference()), {});
    await fixture.collector.run(fixture.ctx);
    assert.equal((await fixture.digests()).length, digestsOf(mine).length);
    assert.equal((await fixture.snapshots()).length, 3);
  });

  void it('applies a layer while the next is still on its way', async () => {
    await using fixture = await TransferFixture.make();
    const mine = sample();
    publish(fixture.remote.storage, 'sample', 'latest', mine);
    const [bottom, , top] = mine.layers;
    const effect = { kind: 'hold', afterBytes: 1, reached: deferred(), release: deferred() } as const;
    fixture.remote.faults.add({ path: top!.descriptor.digest, effect });
    const extracted = fixture.reported('extracted', bottom!.descriptor);
    const pulling = fixture.pull();
    await effect.reached.promise;
    await extracted;
    effect.release.resolve();
    await pulling;
    assert.equal((await fixture.snapshots()).length, 3);
  });
});

void describe('pull by platform', () => {
  void it('takes all when none is named, and unpacks only what this machine runs', async () => {
    await using fixture = await TransferFixture.make();
    const [foreign, mine] = [sample(other, 'other'), sample()];
    const target = publish(fixture.remote.storage, 'sample', 'latest', [foreign, mine]);
    await fixture.pull({ platforms: [] });
    const all = new Set([target.digest, ...digestsOf(foreign), ...digestsOf(mine)]);
    assert.deepEqual(sorted(await fixture.digests()), sorted(all));
    assert.deepEqual(sorted((await fixture.snapshots()).map(({ key }) => key)), sorted(chainsOf(mine)));
  });

  void it('takes manifests and configs of the others too when asked for all metadata', async () => {
    await using fixture = await TransferFixture.make();
    const [foreign, mine] = [sample(other, 'other'), sample()];
    const target = publish(fixture.remote.storage, 'sample', 'latest', [foreign, mine]);
    await fixture.pull({ allMetadata: true });
    const wanted = [
      target.digest,
      foreign.descriptor.digest,
      foreign.configDescriptor.digest,
      ...digestsOf(mine),
    ];
    assert.deepEqual(sorted(await fixture.digests()), sorted(wanted));
  });

  void it('takes no more manifests than the limit, the best first', async () => {
    await using fixture = await TransferFixture.make();
    const [foreign, mine] = [sample(other, 'other'), sample()];
    publish(fixture.remote.storage, 'sample', 'latest', [foreign, mine]);
    await fixture.pull({ platforms: [hostPlatform(), other], manifestLimit: 1 });
    const digests = await fixture.digests();
    assert.ok(digests.includes(mine.descriptor.digest));
    assert.equal(digests.includes(foreign.descriptor.digest), false);
  });

  void it('says what there is when none fits', async () => {
    await using fixture = await TransferFixture.make();
    publish(fixture.remote.storage, 'sample', 'latest', [sample(other, 'other')]);
    await assert.rejects(
      fixture.pull({ platforms: [{ os: 'linux', architecture: 'riscv64' }], manifestLimit: 1 }),
      {
        code: 'NotFound',
        message: /no match for platform linux\/riscv64 .*linux\/s390x/,
      },
    );
    assert.deepEqual(await fixture.store.images.list(fixture.ctx, []), []);
  });

  void it('fetches an image of another platform without unpacking it', async () => {
    await using fixture = await TransferFixture.make();
    const foreign = sample(other, 'other');
    publish(fixture.remote.storage, 'sample', 'latest', foreign);
    await fixture.pull();
    assert.deepEqual(sorted(await fixture.digests()), sorted(digestsOf(foreign)));
    assert.deepEqual(await fixture.snapshots(), []);
  });

  void it('goes through an index in an index', async () => {
    await using fixture = await TransferFixture.make();
    const { storage } = fixture.remote;
    const mine = sample();
    publish(storage, 'sample', 'inner', [mine]);
    const inner = buildIndex([mine]);
    const outer = buildIndex([], { extra: [inner.descriptor] });
    storage.addManifest('sample', outer.descriptor.mediaType, outer.bytes, 'latest');
    await fixture.pull();
    assert.equal((await fixture.snapshots()).length, 3);
  });

  void it('keeps an artifact as it is', async () => {
    await using fixture = await TransferFixture.make();
    const { storage } = fixture.remote;
    const blob = Buffer.from('a chart');
    const manifest = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      artifactType: 'application/vnd.example.chart',
      config: {
        mediaType: 'application/vnd.oci.empty.v1+json',
        digest: storage.addBlob('sample', Buffer.from('{}')),
        size: 2,
      },
      layers: [
        {
          mediaType: 'application/vnd.example.chart.tar',
          digest: storage.addBlob('sample', blob),
          size: blob.length,
        },
      ],
    };
    storage.addManifest('sample', manifest.mediaType, Buffer.from(JSON.stringify(manifest)), 'latest');
    await fixture.pull();
    assert.equal((await fixture.digests()).length, 3);
    assert.deepEqual(await fixture.snapshots(), []);
  });

  void it('takes Docker schema 2 manifests and lists', async () => {
    await using fixture = await TransferFixture.make();
    const { storage } = fixture.remote;
    const mine = buildImage([{ a: 'b' }], { platform: hostPlatform(), docker: true });
    publish(storage, 'sample', 'inner', [mine]);
    const list = buildIndex([mine], { docker: true });
    storage.addManifest('sample', list.descriptor.mediaType, list.bytes, 'latest');
    const { target } = await fixture.pull();
    assert.equal(target.mediaType, 'application/vnd.docker.distribution.manifest.list.v2+json');
    assert.equal((await fixture.snapshots()).length, 1);
  });
});
