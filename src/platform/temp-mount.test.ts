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
import { linuxPlatform } from './linux/linux-platform.ts';
import type { Mount } from './mount.ts';
import { portablePlatform } from './portable/portable-platform.ts';
import { mountAll, resolveBelow, unmountAll, withTempMount } from './temp-mount.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root: it mounts file systems';

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
    test(`an ${what} link that leads out is refused and nothing stays mounted`, { skip }, () => {
      symlinkSync(link, at('source/escape'));
      assert.throws(
        () => mountAll(platform, [bind(at('source')), tmpfs('escape')], at('target')),
        (error) => hasCode(error, 'PermissionDenied'),
      );
      assert.deepEqual(mounted(), []);
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
