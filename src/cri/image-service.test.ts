import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deferred } from '../base/deferred.ts';
import { digestHex } from '../base/digest.ts';
import { hasCode } from '../base/errors.ts';
import { parseImageName, parseSnapshotKey } from '../base/identifiers.ts';
import { hostPlatform } from '../oci/platform.ts';
import { buildImage, buildIndex, descriptorOf, publish } from '../testing/registry/image-builder.ts';
import { until } from '../testing/until.ts';
import { ImageServiceFixture } from './image-service.fixture.ts';

const managed = { 'io.cri-containerd.image': 'managed' };
const pinned = { ...managed, 'io.cri-containerd.pinned': 'pinned' };

const sample = (text: string, run: Readonly<Record<string, unknown>> = {}) =>
  buildImage([{ 'etc/name': text }], { platform: hostPlatform(), run });

const sizeOf = (image: ReturnType<typeof sample>): number =>
  [image.descriptor, image.configDescriptor, ...image.layers.map(({ descriptor }) => descriptor)].reduce(
    (sum, { sizeBytes }) => sum + sizeBytes,
    0,
  );

test('a pull by tag answers with the id and gives three names', async () => {
  await using fixture = await ImageServiceFixture.make();
  const image = sample('one', { User: '1000:50' });
  publish(fixture.transfer.remote.storage, 'app', 'v1', image);
  const id = await fixture.pull('app:v1');
  assert.equal(id, image.configDescriptor.digest);
  const byTag = fixture.reference('app:v1');
  const byDigest = fixture.reference(`app@${image.descriptor.digest}`);
  const stored = await fixture.stored();
  assert.deepEqual([...stored.keys()].toSorted(), [byTag, byDigest, id].toSorted());
  for (const { labels, target } of stored.values()) {
    assert.deepEqual(labels, managed);
    assert.equal(target.digest, image.descriptor.digest);
  }
  const { images } = await fixture.client.listImages({});
  assert.equal(images.length, 1);
  const [listed] = images;
  assert.equal(listed?.id, id);
  assert.deepEqual(listed.repoTags, [byTag]);
  assert.deepEqual(listed.repoDigests, [byDigest]);
  assert.equal(listed.size, BigInt(sizeOf(image)));
  assert.equal(listed.uid?.value, 1000n);
  assert.equal(listed.username, '');
  assert.equal(listed.pinned, false);
});

test('a pull by digest, also beside a tag, gives no name by tag', async () => {
  await using fixture = await ImageServiceFixture.make();
  const image = sample('one', { User: 'worker' });
  publish(fixture.transfer.remote.storage, 'app', 'v1', image);
  for (const name of [`app@${image.descriptor.digest}`, `app:v1@${image.descriptor.digest}`])
    assert.equal(await fixture.pull(name), image.configDescriptor.digest);
  const { images } = await fixture.client.listImages({});
  assert.deepEqual(images[0]?.repoTags, []);
  assert.deepEqual(images[0]?.repoDigests, [fixture.reference(`app@${image.descriptor.digest}`)]);
  assert.equal(images[0]?.username, 'worker');
});

test('the image of pods is pinned, and what others label on a name stays', async () => {
  await using fixture = await ImageServiceFixture.make();
  const image = sample('pause');
  publish(fixture.transfer.remote.storage, 'pause', '3', image);
  const name = fixture.reference('pause:3');
  await fixture.name(name, image.descriptor, { mine: 'too' });
  const id = await fixture.pull('pause:3');
  const stored = await fixture.stored();
  assert.deepEqual(stored.get(name)?.labels, { ...pinned, mine: 'too' });
  assert.deepEqual(stored.get(id)?.labels, pinned);
  assert.equal((await fixture.client.imageStatus({ image: { image: id } })).image?.pinned, true);
});

test('a tag that has moved names the new image, and the old one keeps its other names', async () => {
  await using fixture = await ImageServiceFixture.make();
  const { storage } = fixture.transfer.remote;
  publish(storage, 'app', 'v1', sample('old'));
  const old = await fixture.pull('app:v1');
  publish(storage, 'app', 'v1', sample('new'));
  const id = await fixture.pull('app:v1');
  assert.notEqual(id, old);
  const { images } = await fixture.client.listImages({});
  const tagsById = new Map(images.map((each) => [each.id, each.repoTags]));
  assert.deepEqual(tagsById.get(id), [fixture.reference('app:v1')]);
  assert.deepEqual(tagsById.get(old), []);
});

test('status finds an image by every name and by its id, in part too', async () => {
  await using fixture = await ImageServiceFixture.make();
  const image = sample('one');
  publish(fixture.transfer.remote.storage, 'app', 'latest', image);
  const id = await fixture.pull('app:latest');
  await fixture.name('docker.io/library/short:1', image.descriptor);
  await fixture.name('no reference at all', image.descriptor);
  const hex = digestHex(image.configDescriptor.digest);
  const found = [
    fixture.reference('app:latest'),
    fixture.reference('app'),
    fixture.reference(`app@${image.descriptor.digest}`),
    fixture.reference(`app:other@${image.descriptor.digest}`),
    'short:1',
    'library/short:1',
    'docker.io/library/short:1',
    'no reference at all',
    id,
    hex,
    hex.slice(0, 5),
    `sha256:${hex.slice(0, 5)}`,
  ];
  for (const text of found)
    assert.equal((await fixture.client.imageStatus({ image: { image: text } })).image?.id, id, text);
  const absent = ['', 'short', 'short:2', 'app/UPPER', 'sha256:', `${hex}0`, fixture.reference('app:other')];
  for (const text of absent)
    assert.equal((await fixture.client.imageStatus({ image: { image: text } })).image, undefined, text);
  assert.equal((await fixture.client.imageStatus({})).image, undefined);
});

test('verbose status tells the chain id and the config', async () => {
  await using fixture = await ImageServiceFixture.make();
  const image = sample('one', { Env: ['A=b'] });
  publish(fixture.transfer.remote.storage, 'app', 'v1', image);
  const id = await fixture.pull('app:v1');
  const plain = await fixture.client.imageStatus({ image: { image: id } });
  assert.deepEqual(plain.info, {});
  const { info } = await fixture.client.imageStatus({ image: { image: id }, verbose: true });
  assert.deepEqual(JSON.parse(info['info'] ?? ''), {
    chainID: image.layers[0]?.diffId,
    imageSpec: JSON.parse(image.config.toString()) as unknown,
  });
});

test('part of several ids is refused, and says so', async () => {
  await using fixture = await ImageServiceFixture.make();
  // Seventeen images share a first digit at least once.
  for (let index = 0; index < 17; index += 1) {
    publish(fixture.transfer.remote.storage, `app-${index}`, 'v1', sample(`image ${index}`));
    await fixture.pull(`app-${index}:v1`);
  }
  const { images } = await fixture.client.listImages({});
  const digits = images.map(({ id }) => id.slice('sha256:'.length)[0] ?? '');
  const shared = digits.find((digit, index) => digits.indexOf(digit) !== index) ?? '';
  await assert.rejects(
    fixture.client.imageStatus({ image: { image: shared } }),
    (error) => hasCode(error, 'InvalidArgument') && /part of \d+ ids: give more of it/.test(String(error)),
  );
  await assert.rejects(fixture.client.removeImage({ image: { image: shared } }));
  assert.equal((await fixture.client.listImages({})).images.length, 17);
});

test('a list is filtered by name and id, and streamed', async () => {
  await using fixture = await ImageServiceFixture.make();
  const ids: string[] = [];
  for (const name of ['a', 'b']) {
    publish(fixture.transfer.remote.storage, name, 'latest', sample(name));
    ids.push(await fixture.pull(name));
  }
  const listed = async (image: string) =>
    (await fixture.client.listImages({ filter: { image: { image } } })).images.map(({ id }) => id);
  assert.deepEqual(await listed(fixture.reference('b')), [ids[1]]);
  assert.deepEqual(await listed(ids[0] ?? ''), [ids[0]]);
  assert.deepEqual(await listed('absent'), []);
  assert.deepEqual(await listed(''), ids);
  const batches = await Array.fromAsync(fixture.client.streamImages({}));
  assert.deepEqual(
    batches.map(({ images }) => images.map(({ id }) => id)),
    [ids],
  );
});

test('an image of several platforms counts with its index and this platform', async () => {
  await using fixture = await ImageServiceFixture.make();
  const other = buildImage([{ a: 'other' }], { platform: { os: 'linux', architecture: 's390x' } });
  const ours = sample('ours');
  publish(fixture.transfer.remote.storage, 'app', 'v1', [other, ours]);
  assert.equal(await fixture.pull('app:v1'), ours.configDescriptor.digest);
  const { images } = await fixture.client.listImages({});
  const index = buildIndex([other, ours]);
  assert.equal(images[0]?.size, BigInt(index.descriptor.sizeBytes + sizeOf(ours)));
  publish(fixture.transfer.remote.storage, 'foreign', 'v1', [other]);
  await assert.rejects(fixture.pull('foreign:v1'), (error) => hasCode(error, 'NotFound'));
});

test('what is no container image gets no name', async () => {
  await using fixture = await ImageServiceFixture.make();
  const { storage } = fixture.transfer.remote;
  const blob = Buffer.from('{}');
  const config = descriptorOf('application/vnd.example.thing+json', blob);
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const shown = { mediaType: config.mediaType, digest: config.digest, size: config.sizeBytes };
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType, config: shown, layers: [shown] }),
  );
  storage.addBlob('thing', blob);
  storage.addManifest('thing', mediaType, manifest, 'v1');
  await assert.rejects(
    fixture.pull('thing:v1'),
    (error) => hasCode(error, 'FailedPrecondition') && /no container image/.test(String(error)),
  );
  assert.deepEqual([...(await fixture.stored()).keys()], []);
});

test('a removal takes all names, and may be repeated', async () => {
  await using fixture = await ImageServiceFixture.make();
  const image = sample('one');
  publish(fixture.transfer.remote.storage, 'app', 'v1', image);
  const id = await fixture.pull('app:v1');
  await fixture.name('docker.io/library/other:1', image.descriptor);
  const kept = sample('kept');
  publish(fixture.transfer.remote.storage, 'kept', 'v1', kept);
  const keptId = await fixture.pull('kept:v1');
  for (const text of ['other:1', 'other:1', id, 'app/UPPER', '']) {
    await fixture.client.removeImage({ image: { image: text } });
    const { images } = await fixture.client.listImages({});
    assert.deepEqual(
      images.map((each) => each.id),
      [keptId],
    );
  }
  await fixture.client.removeImage({});
  const digests = await fixture.transfer.digests(fixture.ctx);
  assert.ok(digests.includes(kept.descriptor.digest));
  assert.ok(!digests.includes(image.descriptor.digest), 'the space is free when the answer comes');
  assert.ok(
    [...(await fixture.stored()).values()].every(({ target }) => target.digest === kept.descriptor.digest),
  );
});

test('a pull and a removal of the same image at once leave no name without its content', async () => {
  await using fixture = await ImageServiceFixture.make();
  publish(fixture.transfer.remote.storage, 'app', 'v1', sample('one'));
  const image = { image: fixture.reference('app:v1') };
  for (let round = 0; round < 6; round += 1) {
    await Promise.all([
      fixture.pull('app:v1'),
      fixture.client.removeImage({ image }),
      fixture.pull('app:v1'),
    ]);
    const digests = new Set<string>(await fixture.transfer.digests(fixture.ctx));
    for (const { name, target } of (await fixture.stored()).values())
      assert.ok(digests.has(target.digest), name);
    await fixture.client.removeImage({ image });
    assert.deepEqual([...(await fixture.stored()).keys()], []);
  }
});

test('a name that is wrong is refused before anything is asked', async () => {
  await using fixture = await ImageServiceFixture.make();
  for (const image of ['', 'app/UPPER', 'https://host/app', 'a'.repeat(2000)])
    await assert.rejects(
      fixture.client.pullImage({ image: { image } }),
      (error) => hasCode(error, 'InvalidArgument') && /failed to parse image reference/.test(String(error)),
      image,
    );
  assert.deepEqual(fixture.transfer.remote.requests, []);
});

test('a download that stands still ends the pull, one that goes on does not', async () => {
  await using fixture = await ImageServiceFixture.make({ pullProgressTimeoutMs: 300 });
  const image = buildImage([{ file: Buffer.alloc(400_000, 'x') }], {
    platform: hostPlatform(),
    compression: 'none',
  });
  publish(fixture.transfer.remote.storage, 'app', 'v1', image);
  const effect = { kind: 'hold', afterBytes: 200_000, reached: deferred(), release: deferred() } as const;
  fixture.transfer.remote.faults.add({ path: image.layers[0]?.descriptor.digest ?? '', effect });
  await assert.rejects(
    fixture.pull('app:v1'),
    (error) => hasCode(error, 'Canceled') && /nothing has come .* for 300 ms/.test(String(error)),
  );
  effect.release.resolve();
  assert.deepEqual([...(await fixture.stored()).keys()], []);
  assert.equal(await fixture.pull('app:v1'), image.configDescriptor.digest);
});

test('no more layers of an image are on their way than allowed', async () => {
  await using fixture = await ImageServiceFixture.make({ maxConcurrentDownloads: 1 });
  const image = buildImage([{ a: 'one' }, { b: 'two' }], { platform: hostPlatform() });
  const { remote } = fixture.transfer;
  publish(remote.storage, 'app', 'v1', image);
  const layers = image.layers.map(({ descriptor }) => {
    const effect = { kind: 'hold', afterBytes: 10, reached: deferred(), release: deferred() } as const;
    remote.faults.add({ path: descriptor.digest, method: 'GET', effect });
    return { digest: descriptor.digest, ...effect };
  });
  const pulling = fixture.pull('app:v1');
  await Promise.race(layers.map(({ reached }) => reached.promise));
  const asked = () => layers.filter(({ digest }) => fixture.transfer.requestsFor(digest).length > 0);
  // The one that is held holds the only place: the other is asked for only when the first is done.
  assert.equal(asked().length, 1);
  asked()[0]?.release.resolve();
  await Promise.all(layers.map(({ reached }) => reached.promise));
  assert.equal(asked().length, 2);
  for (const { release } of layers) release.resolve();
  assert.equal(await pulling, image.configDescriptor.digest);
});

test('file systems of images and of what containers write', async () => {
  await using fixture = await ImageServiceFixture.make({ walkEveryMs: 0 });
  const image = buildImage([{ file: Buffer.alloc(50_000, 'x') }], { platform: hostPlatform() });
  publish(fixture.transfer.remote.storage, 'app', 'v1', image);
  await fixture.pull('app:v1');
  const ask = async () => {
    const { imageFilesystems, containerFilesystems } = await fixture.client.imageFsInfo({});
    assert.deepEqual([imageFilesystems.length, containerFilesystems.length], [1, 1]);
    for (const each of [...imageFilesystems, ...containerFilesystems]) {
      assert.equal(each.fsId?.mountpoint, '/where/native/is');
      assert.ok(each.timestamp > 1_600_000_000_000_000_000n);
    }
    return { images: imageFilesystems[0], containers: containerFilesystems[0] };
  };
  const before = await ask();
  assert.ok((before.images?.usedBytes?.value ?? 0n) >= 50_000n);
  assert.ok((before.images?.inodesUsed?.value ?? 0n) >= 1n);
  assert.equal(before.containers?.usedBytes?.value, 0n);
  const parent = parseSnapshotKey(image.layers[0]?.diffId ?? '');
  await fixture.transfer.store
    .snapshotter('native')
    .prepare(fixture.ctx, parseSnapshotKey('container'), { parent });
  const after = await ask();
  assert.equal(after.images?.usedBytes?.value, before.images?.usedBytes?.value);
  assert.ok((after.containers?.usedBytes?.value ?? 0n) > 0n);
});

test('images of other clients are taken over, those of before and those that come', async () => {
  await using fixture = await ImageServiceFixture.make();
  const { store, remote } = fixture.transfer;
  const images = ['early', 'late'].map((text) => sample(text));
  for (const [index, image] of images.entries()) publish(remote.storage, `app-${index}`, 'v1', image);
  const bring = (index: number) =>
    fixture.transfer.pull({ ctx: fixture.ctx }, fixture.reference(`app-${index}:v1`));
  const isTakenOver = async (index: number): Promise<boolean> => {
    const stored = await fixture.stored();
    const id = images[index]?.configDescriptor.digest ?? '';
    const labels = [stored.get(id)?.labels, stored.get(fixture.reference(`app-${index}:v1`))?.labels];
    return labels.every((each) => JSON.stringify(each) === JSON.stringify(managed));
  };
  await bring(0);
  await using _ = fixture.adopt();
  await until('the image of before is taken over', () => isTakenOver(0));
  await bring(1);
  await until('the image that came is taken over', () => isTakenOver(1));
  const outside = fixture.transfer.within('elsewhere');
  await fixture.transfer.pull({ ctx: outside }, fixture.reference('app-0:v1'));
  await fixture.name('not-here:1', descriptorOf('application/vnd.oci.image.index.v1+json', Buffer.from('?')));
  await fixture.name(fixture.reference('pause:1'), images[1]?.descriptor ?? assert.fail());
  await until('the last one is taken over and pinned', async () => {
    const { labels } = await store.images.get(fixture.ctx, parseImageName(fixture.reference('pause:1')));
    return JSON.stringify(labels) === JSON.stringify(pinned);
  });
  assert.deepEqual((await fixture.stored()).get('not-here:1')?.labels, {});
  const [elsewhere] = await store.images.list(outside, []);
  assert.deepEqual(elsewhere?.labels, {});
});
