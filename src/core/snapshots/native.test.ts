import assert from 'node:assert/strict';
import { linkSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { background } from '../../base/context.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import { selectPlatform } from '../../platform/select.ts';
import { diffTrees, readTree } from '../../testing/tree.ts';
import { makeBackend } from './backend.fixture.ts';
import { NativeSnapshotter } from './native.ts';
import { snapshotterSuite } from './snapshotter.suite.ts';

const key = parseSnapshotKey;
const ctx = background(silentLogger);

snapshotterSuite('native', () => makeBackend(NativeSnapshotter));

void it('a child is a whole copy, down to links, holes, devices, xattrs and nanoseconds', async () => {
  await using made = await makeBackend(NativeSnapshotter);
  const { snapshotter } = made;
  const { files, name } = await selectPlatform();
  const [mount] = await snapshotter.prepare(ctx, key('a'), {});
  const from = mount!.source;
  assert.deepEqual(mount!.options, ['rbind', 'rw']);
  mkdirSync(join(from, 'dir'), { mode: 0o500 });
  writeFileSync(join(from, 'dir/file'), 'bytes', { mode: 0o4711 });
  linkSync(join(from, 'dir/file'), join(from, 'link'));
  symlinkSync('../../../etc/passwd', join(from, 'symlink'));
  // The portable twin has no call for these.
  if (name === 'linux') {
    files.makeFifo(join(from, 'fifo'), 0o622);
    files.makeDevice(join(from, 'null'), 'character', 0o666, 1, 3);
    files.setXattr(join(from, 'link'), 'user.x', Buffer.from('y'));
  }
  writeFileSync(join(from, 'holes'), 'x');
  truncateSync(join(from, 'holes'), 10_000_000);
  files.setTimes(join(from, 'dir'), instantOfNs(5n), instantOfNs(1_234_567_890_123_456_789n));
  await snapshotter.commit(ctx, key('c'), key('a'), {});
  const [copy] = await snapshotter.prepare(ctx, key('b'), { parent: key('c') });
  // The twin's utimes keep microseconds only.
  const ignore = name === 'linux' ? [] : (['modifiedNs'] as const);
  assert.deepEqual(diffTrees(await readTree(from), await readTree(copy!.source), { ignore }), []);
  if (name === 'linux') assert.ok(files.lstat(join(copy!.source, 'holes')).blocks < 100);
  writeFileSync(join(copy!.source, 'dir/file'), 'other');
  assert.equal(readFileSync(join(from, 'dir/file'), 'utf8'), 'bytes');
  const [view] = await snapshotter.view(ctx, key('v'), { parent: key('c') });
  assert.deepEqual(view, { type: 'bind', source: from, target: '', options: ['rbind', 'ro'] });
});

void it('a committed tree is measured when first asked about, and that is kept', async () => {
  await using made = await makeBackend(NativeSnapshotter);
  const { snapshotter } = made;
  const [mount] = await snapshotter.prepare(ctx, key('a'), {});
  const file = join(mount!.source, 'file');
  writeFileSync(file, 'x'.repeat(10_000));
  linkSync(file, join(mount!.source, 'same'));
  await snapshotter.commit(ctx, key('c'), key('a'), {});
  const usage = await snapshotter.usage(ctx, key('c'));
  assert.equal(usage.inodes, 2);
  assert.ok(usage.sizeBytes >= 10_000, JSON.stringify(usage));
  writeFileSync(join(mount!.source, 'another'), 'x'.repeat(10_000));
  assert.deepEqual(await snapshotter.usage(ctx, key('c')), usage);
});
