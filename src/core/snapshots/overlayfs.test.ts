import assert from 'node:assert/strict';
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { background } from '../../base/context.ts';
import { hasCode, unimplemented } from '../../base/errors.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';
import type { MountOperations } from '../../platform/platform.ts';
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

const labels = {
  'containerd.io/snapshot/uidmapping': '0:100000:65536,65536:300000:1000',
  'containerd.io/snapshot/gidmapping': '0:200000:65536',
};
const remapped = ['uidmap=0:100000:65536,65536:300000:1000', 'gidmap=0:200000:65536'];

void it('mounts for a user namespace are id-mapped, and what is written has its host ids', async () => {
  await using made = await makeBackend(OverlayfsSnapshotter);
  const { snapshotter, root } = made;
  assert.deepEqual(snapshotter.capabilities, ['remap-ids', 'only-remap-ids', 'rebase']);
  const platform = await selectPlatform();
  const at = (id: number): string => join(root, 'snapshots', String(id), 'fs');
  const bare = await snapshotter.prepare(ctx, key('a'), { labels });
  assert.deepEqual(bare[0]?.options, [...remapped, 'rw', 'rbind']);
  // Written by the container's root, as the kernel puts it.
  await withTempMount(platform, bare, join(root, 'mounts'), async (path) => {
    assert.equal(lstatSync(path).uid, 100_000);
    writeAs(100_000, 200_000, path, 'by-root');
  });
  assert.equal(lstatSync(join(at(1), 'by-root')).uid, 0);
  chownSync(at(1), 5, 6);
  await snapshotter.commit(ctx, key('1'), key('a'), {});
  const run = await snapshotter.prepare(ctx, key('run'), { parent: key('1'), labels });
  assert.deepEqual(run[0]?.options.slice(0, 2), remapped);
  assert.deepEqual(await snapshotter.mounts(ctx, key('run')), run);
  await withTempMount(platform, run, join(root, 'mounts'), async (path) => {
    assert.deepEqual(owner(path), [100_005, 200_006]);
    assert.deepEqual(owner(join(path, 'by-root')), [100_000, 200_000]);
    writeAs(100_005, 200_006, path, 'new');
  });
  assert.deepEqual(owner(join(at(2), 'new')), [100_005, 200_006]);
  assert.deepEqual(owner(join(at(1), 'by-root')), [0, 0]);
  const [view] = await snapshotter.view(ctx, key('v'), { parent: key('1'), labels });
  assert.deepEqual(view?.options, [...remapped, 'ro', 'rbind']);
});

const owner = (path: string): number[] => {
  const { uid, gid } = lstatSync(path);
  return [uid, gid];
};

/** From inside, because the way there is for root only. */
function writeAs(uid: number, gid: number, directory: string, name: string): void {
  const [uidBefore, gidBefore, before] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0, process.cwd()];
  process.chdir(directory);
  process.setegid?.(gid);
  process.seteuid?.(uid);
  try {
    writeFileSync(name, '');
  } finally {
    process.seteuid?.(uidBefore);
    process.setegid?.(gidBefore);
    process.chdir(before);
  }
}

void it('where mounts cannot shift ids, only the top directory changes hands', async () => {
  const platform = await selectPlatform();
  const cannot = (options: readonly string[]): boolean => options.some((each) => each.startsWith('uidmap='));
  const mounts = Object.create(platform.mounts, {
    mount: {
      value: (mount: Mount, target: string) => {
        if (cannot(mount.options)) throw unimplemented('no id-mapped mounts');
        platform.mounts.mount(mount, target);
      },
    },
  }) as MountOperations;
  await using made = await makeBackend(OverlayfsSnapshotter, { slowChown: true }, { ...platform, mounts });
  const { snapshotter, root } = made;
  assert.deepEqual(snapshotter.capabilities, ['rebase']);
  const [mount] = await snapshotter.prepare(ctx, key('a'), { labels });
  assert.deepEqual(mount?.options, ['rw', 'rbind']);
  assert.deepEqual(owner(join(root, 'snapshots/1/fs')), [100_000, 200_000]);
});

void it('labels that are no mapping are refused, and nothing is left of them', async () => {
  await using made = await makeBackend(OverlayfsSnapshotter);
  const [uid, gid] = ['containerd.io/snapshot/uidmapping', 'containerd.io/snapshot/gidmapping'];
  const bad = ['x', '0:1', '0:1:0', '1:1:1', '0:1:1,', '-0:1:1', '0:4294967295:1', '4294967290:0:9'];
  for (const map of bad)
    await assert.rejects(
      made.snapshotter.prepare(ctx, key('a'), { labels: { [uid]: '0:1:1', [gid]: map } }),
      (error) => hasCode(error, 'InvalidArgument'),
      map,
    );
  await assert.rejects(
    made.snapshotter.prepare(ctx, key('a'), { labels: { [uid]: '0:1:1' } }),
    /both labels/,
  );
  await made.snapshotter.cleanup(ctx);
  assert.deepEqual(readdirSync(join(made.root, 'snapshots')), []);
});

void it('tells the upper directory as a label when it is to', async () => {
  await using made = await makeBackend(OverlayfsSnapshotter, { upperdirLabel: true });
  const { snapshotter, root } = made;
  const label = 'containerd.io/snapshot/overlay.upperdir';
  const shown = { a: 'b', [label]: join(root, 'snapshots/1/fs') };
  await snapshotter.prepare(ctx, key('a'), { labels: { a: 'b' } });
  assert.deepEqual((await snapshotter.stat(ctx, key('a'))).labels, shown);
  const updated = await snapshotter.update(ctx, { key: key('a'), labels: { a: 'b' } }, []);
  assert.deepEqual(updated.labels, shown);
  await snapshotter.commit(ctx, key('1'), key('a'), {});
  const listed = await Array.fromAsync(snapshotter.list(ctx, []), (info) => info.labels);
  assert.deepEqual(listed, [{ [label]: shown[label] }]);
  assert.deepEqual(snapshotter.addedLabels?.(key('absent')), {});
});

void it('mount_options come before its own and win; bad ones are an error', async () => {
  await using made = await makeBackend(OverlayfsSnapshotter, { mountOptions: ['volatile', 'index=on'] });
  await made.snapshotter.prepare(ctx, key('a'), {});
  await made.snapshotter.commit(ctx, key('1'), key('a'), {});
  const [mount] = await made.snapshotter.prepare(ctx, key('b'), { parent: key('1') });
  assert.deepEqual(mount?.options.slice(3), ['volatile', 'index=on']);
  await assert.rejects(
    makeBackend(OverlayfsSnapshotter, { mountOptions: ['no-such-option=1'] }),
    (error) => hasCode(error, 'InvalidArgument') && /mount_options no-such-option=1/.test(String(error)),
  );
});
