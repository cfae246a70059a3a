/** Garbage collection of a running daemon: beside pulls and runs, by its thresholds, and what it tells. Needs root. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import { Content, WriteAction } from '../../src/wire/gen/containerd/services/content/v1/content_pb.js';
import { Images } from '../../src/wire/gen/containerd/services/images/v1/images_pb.js';
import { Leases } from '../../src/wire/gen/containerd/services/leases/v1/leases_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { startRegistry } from '../support/registry.ts';
import { attempt } from '../support/run.ts';

const inside = { namespace: 'default' };
const blobsOf = async (daemon: Daemon): Promise<string[]> =>
  readdir(join(daemon.root, 'io.containerd.content.v1.content/blobs/sha256'));
const layersOf = async (daemon: Daemon): Promise<string[]> =>
  readdir(join(daemon.root, 'io.containerd.snapshotter.v1.overlayfs/snapshots'));
/** Runs only when asked. */
const onlyWhenAsked = `[plugins.'io.containerd.gc.v1.scheduler']
startup_delay = "1h"
pause_threshold = 0.000001
mutation_threshold = 100000
`;

/** Creates and deletes a lease, waiting for a collection. */
async function collect(daemon: Daemon): Promise<void> {
  await using connection = connectGrpc(daemon.address);
  const leases = connection.client(Leases);
  const { lease } = await leases.create({}, inside);
  await leases.delete({ id: lease?.id ?? '', sync: true }, inside);
}

test('pulls, runs and removals beside one collection after another: nothing in use is lost, nothing is left', async () => {
  await using registry = await startRegistry(['busybox', 'debian']);
  await using daemon = await startGantry();
  const images = [registry.reference('busybox'), registry.reference('debian')];
  const stop = new AbortController();
  const collecting = (async (): Promise<number> => {
    let count = 0;
    for (; !stop.signal.aborted; count += 1) await collect(daemon);
    return count;
  })();
  const work = async (image: string, who: number): Promise<void> => {
    for (let round = 0; round < 2; round += 1) {
      await daemon.ctr('images', 'pull', '--plain-http', image);
      await daemon.ctr('images', 'tag', '--force', image, `${image}-tag${who}`);
      await daemon.ctr('images', 'rm', image);
      // Another name holds it still.
      assert.match(await daemon.ctr('images', 'check', `name==${image}-tag${who}`), / complete .* true/);
      await daemon.ctr('images', 'rm', `${image}-tag${who}`);
    }
  };
  const [busybox = ''] = images;
  const running = async (): Promise<void> => {
    await daemon.ctr('-n', 'runs', 'images', 'pull', '--plain-http', busybox);
    for (let round = 0; round < 3; round += 1)
      assert.equal(
        await daemon.ctr('-n', 'runs', 'run', '--rm', busybox, `c${round}`, 'echo', 'works'),
        'works\n',
      );
  };
  await Promise.all([...images.map(work), running()]);
  stop.abort();
  assert.ok((await collecting) > 3);
  // What the other namespace has stays whole, and works without the registry.
  await daemon.ctr('-n', 'runs', 'run', '--rm', busybox, 'last', 'true');
  assert.match(await daemon.ctr('-n', 'runs', 'images', 'check'), / complete \(2\/2\) .* true/);
  await daemon.ctr('-n', 'runs', 'images', 'rm', '--sync', busybox);
  assert.deepEqual(await blobsOf(daemon), []);
  await until('no layer is left', async () => (await layersOf(daemon)).length === 0);
});

test('a removal brings a collection; expired images and leases go in it, and events tell', async () => {
  await using registry = await startRegistry(['busybox']);
  await using daemon = await startGantry({ config: onlyWhenAsked });
  const image = registry.reference('busybox');
  await daemon.ctr('images', 'pull', '--plain-http', image);
  await using connection = connectGrpc(daemon.address);
  const { image: pulled } = await connection.client(Images).get({ name: image }, inside);
  await connection.client(Images).create(
    {
      image: {
        name: 'expired',
        labels: { 'containerd.io/gc.expire': '2001-01-01T00:00:00Z' },
        ...(pulled?.target !== undefined && { target: pulled.target }),
      },
    },
    inside,
  );
  await connection
    .client(Leases)
    .create({ id: 'expired', labels: { 'containerd.io/gc.expire': '2001-01-01T00:00:00Z' } }, inside);
  const events = join(daemon.state, 'events');
  const recording = attempt('timeout', ['30', 'sh', '-c', `ctr -a ${daemon.address} events > ${events}`]);
  await until('events are heard', async () => {
    await daemon.ctr('images', 'label', image, `probe=${Date.now()}`);
    return (await attempt('grep', ['-c', '/images/update', events])).status === 0;
  });
  await collect(daemon);
  assert.deepEqual(
    (await connection.client(Images).list({}, inside)).images.map(({ name }) => name),
    [image],
  );
  assert.deepEqual((await connection.client(Leases).list({}, inside)).leases, []);
  assert.notEqual((await blobsOf(daemon)).length, 0);
  await daemon.ctr('images', 'rm', '--sync', image);
  assert.deepEqual(await blobsOf(daemon), []);
  await until(
    'the events have come',
    async () => (await attempt('grep', ['-c', '/snapshot/remove', events])).status === 0,
  );
  const told = (await attempt('grep', ['-o', '/images/delete.*\\|/snapshot/remove.*', events])).stdout;
  assert.match(told, /\/images\/delete \{"name":"expired"\}/);
  assert.doesNotMatch(told, /content/);
  await daemon.stop();
  await recording;
});

test('thresholds: too few writes wait, enough bring a run; deletions come forward by their own', async () => {
  const settings = (lines: string): string => `[plugins.'io.containerd.gc.v1.scheduler']\n${lines}\n`;
  await using daemon = await startGantry({
    config: settings(
      'startup_delay = "1h"\npause_threshold = 0.5\nmutation_threshold = 100000\ndeletion_threshold = 2',
    ),
  });
  await collect(daemon);
  await using connection = connectGrpc(daemon.address);
  const images = connection.client(Images);
  const names = async (): Promise<string[]> => (await images.list({}, inside)).images.map(({ name }) => name);
  for (const id of ['a', 'b']) await connection.client(Leases).create({ id }, inside);
  const target = { mediaType: 'x', digest: `sha256:${'0'.repeat(64)}`, size: 1n };
  const labels = { 'containerd.io/gc.expire': '2001-01-01T00:00:00Z' };
  await images.create({ image: { name: 'expired', labels, target } }, inside);
  await connection.client(Leases).delete({ id: 'a' }, inside);
  assert.deepEqual(await names(), ['expired']);
  await connection.client(Leases).delete({ id: 'b' }, inside);
  await until('two deletions have brought a collection', async () => (await names()).length === 0);
});

/** Content, images and leases that refer to each other in every way, then a collection: what is left, by name. */
async function survivors(daemon: Daemon): Promise<string[]> {
  await using connection = connectGrpc(daemon.address);
  const [content, images, leases] = [
    connection.client(Content),
    connection.client(Images),
    connection.client(Leases),
  ];
  const names = new Map<string, string>();
  const digest = (name: string): string => `sha256:${createHash('sha256').update(name).digest('hex')}`;
  // Not yet, or a collection that a young daemon runs by itself would take it before its references are made.
  const expiresAtMs = Date.now() + 5000;
  const past = { 'containerd.io/gc.expire': new Date(expiresAtMs).toISOString() };
  const put = async (name: string, labels: Record<string, string> = {}, lease = 'build'): Promise<void> => {
    names.set(digest(name), name);
    const data = Buffer.from(name);
    const message = {
      action: WriteAction.COMMIT,
      ref: name,
      total: BigInt(data.length),
      expected: digest(name),
      data,
      labels,
    };
    for await (const _ of content.write(once(message), { ...inside, lease }));
  };
  const image = (name: string, target: string, labels: Record<string, string> = {}) =>
    images.create(
      { image: { name, labels, target: { mediaType: 'x', digest: digest(target), size: 1n } } },
      { ...inside, lease: 'build' },
    );
  for (const [id, labels] of [
    ['build', {}],
    ['plain', {}],
    ['flat', { 'containerd.io/gc.flat': 'x' }],
    ['past', past],
    ['broken', { 'containerd.io/gc.expire': 'tomorrow' }],
  ] as const)
    await leases.create({ id, labels }, inside);
  const ref = 'containerd.io/gc.ref.content';
  await put('layer');
  await put('manifest', {
    [`${ref}.l.0`]: digest('layer'),
    [`${ref}/x`]: digest('slash'),
    [`${ref}x`]: digest('no ref'),
  });
  await put('slash');
  await put('no ref');
  await image('app', 'manifest');
  await put('of expired', { [ref]: digest('child of expired') });
  await put('child of expired');
  await image('expired', 'of expired', past);
  await image('expired but held', 'held', past);
  await put('held');
  await image('holder', 'absent', { 'containerd.io/gc.ref.image.x': 'expired but held' });
  await put('rooted', { 'containerd.io/gc.root': 'false' });
  await put('back', { 'containerd.io/gc.bref.content.x': digest('manifest') });
  await put('back to image', { 'containerd.io/gc.bref.image': 'app' });
  await put('back to nobody', { 'containerd.io/gc.bref.image': 'nobody' });
  for (const lease of ['plain', 'flat', 'past', 'broken']) {
    await put(`${lease} child`);
    await put(`${lease} parent`, { [ref]: digest(`${lease} child`) });
    await leases.addResource(
      { id: lease, resource: { type: 'content', id: digest(`${lease} parent`) } },
      inside,
    );
  }
  await put('circle 1', { [ref]: digest('circle 2') });
  await put('circle 2', { [ref]: digest('circle 1') });
  await until('what expires has expired', () => Date.now() > expiresAtMs);
  await leases.delete({ id: 'build', sync: true }, inside);
  const left: string[] = [];
  for await (const { info } of content.list({}, inside))
    left.push(...info.map((each) => `content ${names.get(each.digest) ?? each.digest}`));
  left.push(...(await images.list({}, inside)).images.map(({ name }) => `image ${name}`));
  left.push(...(await leases.list({}, inside)).leases.map(({ id }) => `lease ${id}`));
  return left.toSorted();
}

async function* once<Item>(item: Item): AsyncGenerator<Item> {
  yield item;
}

test('what stays and what goes is what containerd keeps and takes', async () => {
  await using peer = await startPeer();
  await using daemon = await startGantry();
  const expected = await survivors(peer);
  const ours = await survivors(daemon);
  // Back references came with containerd 2.2.
  const isBack = (name: string): boolean => name.startsWith('content back');
  assert.deepEqual(
    ours.filter((name) => !isBack(name)),
    expected.filter((name) => !isBack(name)),
    peer.name,
  );
  assert.deepEqual(ours.filter(isBack), ['content back', 'content back to image']);
  for (const name of [
    'content layer',
    'content slash',
    'content rooted',
    'content plain child',
    'content flat parent',
  ])
    assert.ok(expected.includes(name), `${name} of ${expected.join(', ')}`);
  for (const name of [
    'content no ref',
    'content circle 1',
    'content flat child',
    'image expired',
    'lease past',
  ])
    assert.ok(!expected.includes(name), `${name} of ${expected.join(', ')}`);
});
