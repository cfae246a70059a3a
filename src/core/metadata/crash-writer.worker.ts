/**
 * The process that crash.test.ts kills: stores content, images, leases and snapshots without end in the directory it
 * is given, and says each thing on standard output once it has been acknowledged.
 */
import { writeSync } from 'node:fs';
import { withLease } from '../../base/context.ts';
import { parseImageName, parseLeaseId, parseSnapshotKey } from '../../base/identifiers.ts';
import { putContent } from '../content/content-store.suite.ts';
import { crashBytes, StoreFixture } from './store.fixture.ts';

const [, , directory, prefix] = process.argv;
if (directory === undefined || prefix === undefined) throw new Error('usage: crash-writer DIRECTORY PREFIX');

const fixture = StoreFixture.reopen(directory);
const { content, images, leases } = fixture.store;
const snapshotter = fixture.store.snapshotter('records');
const acknowledge = (kind: string, name: string): number => writeSync(1, `${kind} ${name}\n`);

async function storeForEver(worker: number): Promise<never> {
  // The collector runs too: what is acknowledged is held by this lease.
  const id = parseLeaseId(`${prefix}-${worker}`);
  await leases.create(fixture.ctx, { id, labels: {} });
  acknowledge('lease', id);
  const ctx = withLease(fixture.ctx, id);
  for (let count = 0; ; count += 1) {
    const name = `${prefix}-${worker}-${count}`;
    const bytes = crashBytes(name);
    const digest = await putContent(content, ctx, bytes, { labels: { name } });
    acknowledge('content', name);
    const target = { mediaType: 'x', digest, sizeBytes: bytes.length };
    await images.create(ctx, { name: parseImageName(name), target, labels: { name } });
    acknowledge('image', name);
    await snapshotter.prepare(ctx, parseSnapshotKey(`${name} work`), {});
    await snapshotter.commit(ctx, parseSnapshotKey(name), parseSnapshotKey(`${name} work`), {
      labels: { name },
    });
    acknowledge('snapshot', name);
    await putContent(content, fixture.ctx, crashBytes(`garbage ${name}`));
    if (worker === 0) await fixture.collector.run(fixture.ctx);
  }
}

// Several at once, so that a kill falls into every step.
await Promise.all([0, 1, 2].map(storeForEver));
