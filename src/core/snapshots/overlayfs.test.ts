import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { background } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import { selectPlatform } from '../../platform/select.ts';
import { withTempMount } from '../../platform/temp-mount.ts';
import { SkipPlugin } from '../plugins/plugin.ts';
import { makeBackend } from './backend.fixture.ts';
import { OverlayfsSnapshotter } from './overlayfs.ts';
import { snapshotterSuite } from './snapshotter.suite.ts';

const key = parseSnapshotKey;
const ctx = background(silentLogger);

snapshotterSuite('overlayfs', () => makeBackend(OverlayfsSnapshotter));

void it('mounts are those of containerd, option for option', async () => {
  await using made = await makeBackend(OverlayfsSnapshotter);
  const { snapshotter, root } = made;
  const at = (id: number, name = 'fs'): string => join(root, 'snapshots', String(id), name);
  const bind = (id: number, access: string) => [
    { type: 'bind', source: at(id), target: '', options: [access, 'rbind'] },
  ];
  assert.deepEqual(await snapshotter.prepare(ctx, key('a'), {}), bind(1, 'rw'));
  await snapshotter.commit(ctx, key('1'), key('a'), {});
  const [overlay] = await snapshotter.prepare(ctx, key('b'), { parent: key('1') });
  assert.deepEqual(overlay?.options, [
    `workdir=${at(2, 'work')}`,
    `upperdir=${at(2)}`,
    `lowerdir=${at(1)}`,
    'index=off',
  ]);
  assert.deepEqual(await snapshotter.view(ctx, key('v'), { parent: key('1') }), bind(1, 'ro'));
  await snapshotter.commit(ctx, key('2'), key('b'), {});
  const [view] = await snapshotter.view(ctx, key('w'), { parent: key('2') });
  assert.deepEqual(view?.options, [`lowerdir=${at(2)}:${at(1)}`, 'index=off']);
  assert.deepEqual(await snapshotter.view(ctx, key('x'), {}), bind(5, 'ro'));
  assert.equal(lstatSync(join(root, 'snapshots/1')).mode & 0o7777, 0o700);
  assert.equal(lstatSync(at(1, 'work')).mode & 0o7777, 0o711);
});

void it('the mounted top directory keeps mode and owner of the parent, and a rebase stacks', async () => {
  await using made = await makeBackend(OverlayfsSnapshotter);
  const { snapshotter, root } = made;
  const platform = await selectPlatform();
  const layer = async (name: string, fill: (path: string) => void, parent?: string): Promise<void> => {
    const [mount] = await snapshotter.prepare(ctx, key(`x ${name}`), {});
    fill(mount!.source);
    await snapshotter.commit(
      ctx,
      key(name),
      key(`x ${name}`),
      parent === undefined ? {} : { parent: key(parent) },
    );
  };
  await layer('low', (path) => {
    writeFileSync(join(path, 'gone'), 'x');
    writeFileSync(join(path, 'kept'), 'low');
    platform.files.setTimes(path, instantOfNs(1n), instantOfNs(1n));
  });
  await layer('high', (path) => platform.files.makeDevice(join(path, 'gone'), 'character', 0, 0, 0), 'low');
  const mounts = await snapshotter.prepare(ctx, key('run'), { parent: key('high') });
  await withTempMount(platform, mounts, join(root, 'mounts'), async (path) => {
    assert.deepEqual(readdirSync(path), ['kept']);
    assert.equal(lstatSync(path).mode & 0o7777, 0o755);
  });
  await snapshotter.prepare(ctx, key('late'), { parent: key('low') });
  await assert.rejects(snapshotter.commit(ctx, key('no'), key('late'), { parent: key('high') }), (error) =>
    hasCode(error, 'FailedPrecondition'),
  );
});

void it('directories without a record are leftovers; removal frees the disk at clean-up or at once', async () => {
  for (const syncRemove of [false, true]) {
    await using made = await makeBackend(OverlayfsSnapshotter, { syncRemove });
    const { snapshotter, root } = made;
    const snapshots = join(root, 'snapshots');
    await snapshotter.prepare(ctx, key('a'), {});
    await snapshotter.prepare(ctx, key('b'), {});
    await snapshotter.remove(ctx, key('a'));
    assert.equal(readdirSync(snapshots).length, syncRemove ? 1 : 2);
    assert.ok(!existsSync(join(snapshots, '1')));
    mkdirSync(join(snapshots, '77/fs'), { recursive: true });
    mkdirSync(join(snapshots, 'new-half'));
    await snapshotter.cleanup(ctx);
    assert.deepEqual(readdirSync(snapshots), ['2']);
  }
});

void it('is skipped where overlayfs cannot work, with the reason', async () => {
  const root = mkdtempSync('/dev/shm/gantry,comma-');
  try {
    await assert.rejects(
      (async () => makeBackend(OverlayfsSnapshotter, { root }))(),
      (error) => error instanceof SkipPlugin && error.message.endsWith('skip plugin'),
    );
  } finally {
    rmSync(root, { recursive: true });
  }
});
