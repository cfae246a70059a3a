import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { selectPlatform } from '../../platform/select.ts';
import { needsRoot } from '../../testing/needs-root.ts';
import { until } from '../../testing/until.ts';
import { RootfsMounts } from './rootfs-mounts.ts';

const openFiles = (): number => readdirSync('/proc/self/fd').length;

void describe('root filesystems', { skip: needsRoot('it mounts') }, async () => {
  const platform = await selectPlatform();

  test('an overlay is out of sight at once, and can be mounted again at once', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'gantry-rootfs-'));
    t.after(() => rmSync(folder, { recursive: true }));
    for (const name of ['lower', 'upper', 'work']) mkdirSync(join(folder, name));
    const rootfs = join(folder, 'rootfs');
    const options = ['lower', 'upper', 'work'].map((name) => `${name}dir=${join(folder, name)}`);
    const overlay = { type: 'overlay', source: 'overlay', target: '', options };
    const mounts = new RootfsMounts(platform);
    const before = openFiles();
    for (let round = 0; round < 5; round += 1) {
      await mounts.mount([overlay], rootfs);
      writeFileSync(join(rootfs, `file-${round}`), 'x');
      mounts.unmount([overlay], rootfs);
      assert.deepEqual(readdirSync(rootfs), []);
    }
    assert.equal(readdirSync(join(folder, 'upper')).length, 5);
    assert.equal(readFileSync(join(folder, 'upper/file-4'), 'utf8'), 'x');
    await until('nothing is held any more', () => openFiles() === before);
  });

  test('what cannot be mounted is an error, and what is not mounted none', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'gantry-rootfs-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const mounts = new RootfsMounts(platform);
    const bind = { type: 'bind', source: join(folder, 'absent'), target: '', options: ['rbind'] };
    await assert.rejects(
      mounts.mount([bind], join(folder, 'rootfs')),
      (error) => hasCode(error, 'NotFound') && /failed to mount rootfs component/.test(String(error)),
    );
    mounts.unmount([bind], join(folder, 'rootfs'));
    mounts.unmount([bind], join(folder, 'never'));
  });
});
