import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { digestOf } from '../../base/digest.ts';
import { parseImageName, parseSnapshotKey } from '../../base/identifiers.ts';
import { readContent } from '../content/content-store.suite.ts';
import { crashBytes, StoreFixture } from './store.fixture.ts';

const writer = fileURLToPath(new URL('crash-writer.worker.ts', import.meta.url));

/** Runs the writer until it has acknowledged `count` things, then kills it. Everything it said comes back. */
async function acknowledgedUntilKilled(directory: string, prefix: string, count: number): Promise<string[]> {
  const child = spawn(process.execPath, [writer, directory, prefix], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === count) child.kill('SIGKILL');
  }
  const [, signal] = (await exited) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL', 'the writer ended by itself');
  return lines;
}

async function checkStore(fixture: StoreFixture, acknowledged: readonly string[]): Promise<void> {
  const { content, images, leases } = fixture.store;
  const snapshotter = fixture.store.snapshotter('records');
  const leaseIds = new Set((await leases.list(fixture.ctx, [])).map((lease) => lease.id as string));
  for (const line of acknowledged) {
    const [kind, name = ''] = line.split(' ');
    if (kind === 'content')
      assert.deepEqual((await content.info(fixture.ctx, digestOf(crashBytes(name)))).labels, { name });
    else if (kind === 'image')
      assert.deepEqual((await images.get(fixture.ctx, parseImageName(name))).labels, { name });
    else if (kind === 'snapshot') {
      const info = await snapshotter.stat(fixture.ctx, parseSnapshotKey(name));
      assert.deepEqual([info.kind, info.labels], ['committed', { name }]);
    } else assert.ok(leaseIds.has(name), line);
  }
  // Whatever is visible is whole, acknowledged or not.
  for await (const info of content.list(fixture.ctx, [])) {
    const bytes = await readContent(content, fixture.ctx, info.digest);
    assert.equal(bytes.length, info.sizeBytes);
    assert.equal(digestOf(bytes), info.digest);
  }
  for (const image of await images.list(fixture.ctx, []))
    await content.info(fixture.ctx, image.target.digest);
  for await (const { key } of snapshotter.list(fixture.ctx, [])) await snapshotter.usage(fixture.ctx, key);
}

test('kill -9 at any moment: what was acknowledged is there, and nothing half-done is visible', async (t) => {
  await using fixture = await StoreFixture.make();
  fixture.close();
  const kept: string[] = [];
  for (let round = 0; round < 6; round += 1) {
    const count = randomInt(1, 60);
    t.diagnostic(`round ${round}: killed after ${count}`);
    const lines = await acknowledgedUntilKilled(fixture.directory, `r${round}`, count);
    kept.push(...lines);
    await using reopened = StoreFixture.reopen(fixture.directory);
    await checkStore(reopened, kept);
  }
  await using last = StoreFixture.reopen(fixture.directory);
  await last.collector.run(last.ctx);
  const blobs = await Array.fromAsync(last.local.blobs());
  const records = await Array.fromAsync(last.store.content.list(last.ctx, []));
  assert.deepEqual(blobs.toSorted(), records.map(({ digest }) => digest as string).toSorted());
});
