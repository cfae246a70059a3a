/** Loop devices and mounts over them. Needs root. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { runCommand } from '../command.ts';
import { LinuxLoops } from './loop-devices.ts';
import { LinuxMounts } from './mounts.ts';
import { LinuxProcesses } from './processes.ts';

const loops = new LinuxLoops();
const needsRoot = { skip: process.getuid?.() === 0 ? false : 'needs root' };

async function withFile(use: (file: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-loop-'));
  try {
    const file = join(folder, 'image');
    await writeFile(file, '');
    await truncate(file, 16 * 1024 * 1024);
    await use(file, folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

void test(
  'a device goes with its last user, unless it is kept; only its own tag detaches it',
  needsRoot,
  () =>
    withFile(async (file, folder) => {
      const gone = loops.attach(file, { readOnly: true });
      assert.equal(loops.isAttached(gone.path, file), true);
      gone[Symbol.dispose]();
      assert.equal(loops.isAttached(gone.path, file), false);

      const tag = join(folder, 'a tag');
      const kept = loops.attach(file, { readOnly: false, tag });
      kept.keep();
      kept[Symbol.dispose]();
      assert.equal(loops.isAttached(kept.path, tag), true);
      assert.equal(loops.detach(kept.path, file), false);
      assert.equal(loops.detach(kept.path, tag), true);
      assert.equal(loops.isAttached(kept.path, tag), false);
      assert.equal(loops.detach(kept.path, tag), false);
    }),
);

void test('what is no loop device is refused, and symlinks are not followed', needsRoot, () =>
  withFile(async (file, folder) => {
    assert.throws(
      () => loops.detach('/dev/sda', file),
      (error) => hasCode(error, 'InvalidArgument'),
    );
    assert.throws(
      () => loops.detach('/dev/loop0/../sda', file),
      (error) => hasCode(error, 'InvalidArgument'),
    );
    await symlink(file, join(folder, 'link'));
    assert.throws(() => loops.attach(join(folder, 'link'), { readOnly: true }));
    assert.throws(
      () => loops.attach(join(folder, 'absent'), { readOnly: true }),
      (error) => hasCode(error, 'NotFound'),
    );
  }),
);

void test('the loop option mounts a file, and the device goes with the mount', needsRoot, () =>
  withFile(async (file, folder) => {
    const made = await runCommand(new LinuxProcesses(), {
      file: 'mkfs.ext4',
      args: ['-q', file],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    });
    assert.equal(made.status, 0, made.stderr.toString());
    const place = join(folder, 'place');
    await mkdir(place);
    const mounts = new LinuxMounts({ loops });
    mounts.mount({ type: 'ext4', source: file, target: '', options: ['loop', 'ro'] }, place);
    const mounted = mounts.list().find(({ mountPoint }) => mountPoint === place);
    assert.match(mounted?.source ?? '', /^\/dev\/loop\d+$/);
    assert.ok(mounted?.options.includes('ro'));
    assert.equal(loops.isAttached(mounted?.source ?? '', file), true);
    mounts.unmount(place);
    assert.equal(loops.isAttached(mounted?.source ?? '', file), false);
  }),
);
