/**
 * The process whose power is cut: it lives through everything that a store promises to keep, and says on standard output
 * what it is about to do to a thing (`begin`) and what has been acknowledged (`there`, `gone`).
 *
 *     node story.worker.ts DIRECTORY REGISTRY [unsafe]
 */
import { writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { withLease } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import { parseImageName, parseIngestRef, parseLeaseId, parseSnapshotKey } from '../../base/identifiers.ts';
import type { Mount } from '../../platform/mount.ts';
import { StoreHost } from '../store-host.ts';
import { contentOf, snapshotterOf, type Thing, thingText } from './promises.ts';

const [, , directory, registry, mode] = process.argv;
if (directory === undefined || registry === undefined)
  throw new Error('usage: story DIRECTORY REGISTRY [unsafe]');

const say = (word: 'begin' | 'there' | 'gone', thing: Thing): void =>
  void writeSync(1, `${word} ${thingText(thing)}\n`);

await using host = await StoreHost.open(directory, {
  snapshotter: snapshotterOf(),
  syncCommit: mode !== 'unsafe',
});
const { content, images, leases, containers } = host.store;
const snapshotter = host.store.snapshotter(host.backend.name);
const { ctx } = host;

const reference = `${registry}/sample:latest`;
const lease = parseLeaseId('story');
const leased = withLease(ctx, lease);
await leases.create(ctx, { id: lease, labels: {} });
say('there', { kind: 'lease', name: lease });

// Content: in pieces, resumed, in two namespaces' worth of collections.
for (const name of ['first', 'second', 'third']) {
  const bytes = contentOf(name);
  const ref = parseIngestRef(`ingest ${name}`);
  {
    await using writer = await content.writer(leased, { ref });
    await writer.write(bytes.subarray(0, 1000));
  }
  await using writer = await content.writer(leased, { ref });
  await writer.write(bytes.subarray(writer.status().offsetBytes));
  await writer.commit(leased, { labels: { name } });
  say('there', { kind: 'content', name });
  // The second is held by the lease alone.
  if (name === 'second') continue;
  const target = { mediaType: 'x', digest: digestOf(bytes), sizeBytes: bytes.length };
  await images.create(ctx, { name: parseImageName(`image-${name}`), target, labels: {} });
  say('there', { kind: 'image', name: `image-${name}` });
}

await abandon('abandoned');

// Snapshots on each other, written to as clients do, without a sync of theirs.
let parent: string | undefined;
for (const name of ['layer-1', 'layer-2']) {
  const key = parseSnapshotKey(`${name} work`);
  const options = parent === undefined ? {} : { parent: parseSnapshotKey(parent) };
  const mounts = await snapshotter.prepare(leased, key, options);
  say('there', { kind: 'active', name: key });
  writeFileSync(join(layerOf(mounts), name), contentOf(name));
  say('begin', { kind: 'active', name: key });
  await snapshotter.commit(leased, parseSnapshotKey(name), key, {});
  say('there', { kind: 'layer', name });
  parent = name;
}
await snapshotter.view(leased, parseSnapshotKey('view'), { parent: parseSnapshotKey('layer-2') });
say('there', { kind: 'active', name: 'view' });

await host.pull(reference);
say('there', { kind: 'pulled', name: reference });

// Deletes, and a collection in the midst of it all.
say('begin', { kind: 'image', name: 'image-first' });
await images.delete(ctx, parseImageName('image-first'), {});
say('gone', { kind: 'image', name: 'image-first' });
say('begin', { kind: 'content', name: 'second' });
await content.delete(ctx, digestOf(contentOf('second')));
say('gone', { kind: 'content', name: 'second' });
say('begin', { kind: 'active', name: 'view' });
await snapshotter.remove(ctx, parseSnapshotKey('view'));
say('gone', { kind: 'active', name: 'view' });
await host.collector.run(ctx);
say('begin', { kind: 'pulled', name: reference });
await images.delete(ctx, parseImageName(reference), {});
say('gone', { kind: 'image', name: reference });
await host.collector.run(ctx);
say('begin', { kind: 'image', name: reference });
await host.pull(reference);
say('there', { kind: 'pulled', name: reference });

// Once more: what was synced with the layers says nothing about it.
await abandon('abandoned late');
await containers.create(ctx, {
  id: 'c1' as never,
  labels: {},
  image: reference,
  runtime: { name: 'io.containerd.runc.v2', options: undefined },
  spec: { typeUrl: 'x', value: new Uint8Array() },
  snapshotter: host.backend.name,
  snapshotKey: 'layer-2',
  extensions: {},
  sandbox: '',
});
say('there', { kind: 'container', name: 'c1' });
for (const thing of [
  { kind: 'lease', name: lease },
  { kind: 'content', name: 'first' },
] as const)
  say('begin', thing);
await leases.delete(ctx, lease, {});
say('gone', { kind: 'lease', name: lease });
await host.collector.run(ctx);

/** An ingest in pieces that nobody finishes. */
async function abandon(name: string): Promise<void> {
  await using writer = await content.writer(leased, { ref: parseIngestRef(name) });
  for (let start = 0; start < 500; start += 50)
    await writer.write(contentOf(name).subarray(start, start + 50));
}

/** Where a client's writes go: the upper layer of an overlay, or what is bound. */
function layerOf(mounts: readonly Mount[]): string {
  const [mount] = mounts;
  const upper = mount?.options.find((option) => option.startsWith('upperdir='));
  return upper?.slice('upperdir='.length) ?? mount?.source ?? '';
}
