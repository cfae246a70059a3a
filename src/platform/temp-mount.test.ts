/** Real mounts; needs root (CAP_SYS_ADMIN). The twin's part runs everywhere. */
import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { hasCode } from '../base/errors.ts';
import { needsRoot } from '../testing/needs-root.ts';
import { linuxPlatform } from './linux/linux-platform.ts';
import type { Mount } from './mount.ts';
import { portablePlatform } from './portable/portable-platform.ts';
import { mountAll, releaseLeftMounts, resolveBelow, unmountAll, withTempMount } from './temp-mount.ts';

const skip = needsRoot('it mounts file systems');

const bind = (source: string, target = ''): Mount => ({ type: 'bind', source, target, options: ['rbind'] });
const tmpfs = (target = ''): Mount => ({ type: 'tmpfs', source: 'tmpfs', target, options: [] });

describe('lists of mounts', () => {
  const platform = linuxPlatform();
  let folder = '';
  const at = (name: string): string => join(folder, name);
  const mounted = (): string[] =>
    platform.mounts
      .list()
      .map(({ mountPoint }) => mountPoint)
      .filter((path) => path.startsWith(folder));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gantry-temp-mount-'));
    mkdirSync(at('source/inner'), { recursive: true });
    mkdirSync(at('target'));
    mkdirSync(at('temp'));
    writeFileSync(at('source/file'), 'x');
  });
  afterEach(() => {
    platform.mounts.unmountAll(folder, { lazy: true });
    rmSync(folder, { recursive: true });
  });

  test('what a killed process left mounted is taken away, and what is none of it stays', { skip }, () => {
    mkdirSync(at('temp/mount-1/root'), { recursive: true });
    mkdirSync(at('temp/mount-2'));
    mkdirSync(at('temp/mount-3'));
    mkdirSync(at('temp/other'));
    writeFileSync(at('temp/mount-3/file'), 'whose?');
    mountAll(platform, [bind(at('source'))], at('temp/mount-1/root'));
    mountAll(platform, [tmpfs()], at('temp/mount-2'));
    assert.deepEqual(releaseLeftMounts(platform, at('temp')).sort(), [
      at('temp/mount-1'),
      at('temp/mount-2'),
    ]);
    assert.deepEqual(readdirSync(at('temp')).sort(), ['mount-3', 'other']);
    assert.deepEqual(mounted(), []);
    assert.equal(readFileSync(at('source/file'), 'utf8'), 'x');
  });

  test('targets below the place are honoured, and links inside it followed', { skip }, () => {
    symlinkSync('inner', at('source/link'));
    mountAll(platform, [bind(at('source')), tmpfs('link')], at('target'));
    assert.deepEqual(mounted(), [at('target'), at('target/inner')]);
    unmountAll(platform, at('target'));
    assert.deepEqual(mounted(), []);
  });

  for (const [what, link] of [
    ['absolute', '/usr'],
    ['relative', '../../../../usr'],
  ] as const)
    test(`a link, ${what}, that leads out is refused and nothing stays mounted`, { skip }, () => {
      symlinkSync(link, at('source/escape'));
      assert.throws(
        () => mountAll(platform, [bind(at('source')), tmpfs('escape')], at('target')),
        (error) => hasCode(error, 'PermissionDenied'),
      );
      assert.deepEqual(mounted(), []);
    });

  test('a list that fails takes away what it mounted, and nothing that was there before', { skip }, () => {
    mountAll(platform, [tmpfs()], at('target'));
    mkdirSync(at('target/kept'));
    mountAll(platform, [tmpfs('kept')], at('target'));
    assert.throws(
      () => mountAll(platform, [bind(at('source')), tmpfs('inner'), tmpfs('absent')], at('target')),
      (error) => hasCode(error, 'NotFound'),
    );
    assert.deepEqual(mounted(), [at('target'), at('target/kept')]);
  });

  test('what is mounted in a bind mount of a shared source, and unmounted, is not so in the source', {
    skip,
  }, () => {
    platform.mounts.mount({ ...tmpfs(), options: ['rshared'] }, at('temp'));
    mkdirSync(at('temp/inner'));
    mkdirSync(at('temp/below'));
    platform.mounts.mount(tmpfs(), at('temp/below'));
    const before = mounted();
    mountAll(platform, [bind(at('temp')), tmpfs('inner')], at('target'));
    assert.deepEqual(
      mounted().filter((path) => !before.includes(path)),
      [at('target'), at('target/below'), at('target/inner')],
    );
    unmountAll(platform, at('target'));
    assert.deepEqual(mounted(), before);
  });

  test('where mounts are shared, a temporary one is seen by nobody else and leaves its source alone', {
    skip,
  }, async () => {
    mkdirSync(at('shared'));
    mkdirSync(at('peer'));
    platform.mounts.mount({ ...tmpfs(), options: ['rshared'] }, at('shared'));
    platform.mounts.mount(bind(at('shared')), at('peer'));
    mkdirSync(at('shared/source/inner'), { recursive: true });
    mkdirSync(at('shared/source/below'));
    platform.mounts.mount(tmpfs(), at('shared/source/below'));
    const before = mounted();
    assert.ok(before.includes(at('peer/source/below')), 'the peers are none');
    await withTempMount(
      platform,
      [bind(at('shared/source')), tmpfs('inner')],
      at('shared/temp'),
      async (root) => {
        const inside = mounted();
        for (const path of [root, join(root, 'inner'), join(root, 'below')])
          assert.ok(inside.includes(path), path);
        const peer = root.replace(at('shared'), at('peer'));
        assert.deepEqual(readdirSync(peer), []);
        assert.deepEqual(
          inside.filter((path) => path === at('shared/source/inner') || path.startsWith(peer)),
          [],
        );
        await assert.rejects(
          withTempMount(platform, [bind(root), tmpfs('absent')], at('shared/temp'), async () => {}),
          (error) => hasCode(error, 'NotFound'),
        );
      },
    );
    assert.deepEqual(mounted(), before);
    assert.deepEqual(readdirSync(at('shared/temp')), []);
  });

  test('dots do not lead out', () => {
    assert.throws(
      () => resolveBelow(at('target'), '../source'),
      (error) => hasCode(error, 'PermissionDenied'),
    );
    assert.equal(resolveBelow(at('source'), 'inner/../inner'), at('source/inner'));
    assert.throws(
      () => resolveBelow(at('source'), 'absent'),
      (error) => hasCode(error, 'NotFound'),
    );
  });

  test('a temporary mount is gone afterwards, also when its user fails or holds it', { skip }, async () => {
    const seen = await withTempMount(platform, [bind(at('source'))], at('temp'), async (root) =>
      readFileSync(join(root, 'file'), 'utf8'),
    );
    assert.equal(seen, 'x');
    await assert.rejects(
      withTempMount(platform, [tmpfs()], at('temp'), async () => {
        throw new Error('the user failed');
      }),
      /the user failed/,
    );
    const fd = await withTempMount(platform, [tmpfs()], at('temp'), async (root) =>
      openSync(join(root, 'held'), 'w'),
    );
    assert.deepEqual(mounted(), []);
    assert.deepEqual(readdirSync(at('temp')), []);
    closeSync(fd);
    assert.deepEqual(readdirSync(at('source')).sort(), ['file', 'inner']);
  });

  test('the twin hands out the source of a single bind mount and refuses the rest', async () => {
    const twin = portablePlatform();
    assert.equal(
      await withTempMount(twin, [bind(at('source'))], at('temp'), async (root) => root),
      at('source'),
    );
    await assert.rejects(
      withTempMount(twin, [tmpfs()], at('temp'), async (root) => root),
      (error) => hasCode(error, 'Unimplemented'),
    );
    assert.deepEqual(readdirSync(at('temp')), []);
  });
});
