/** File systems in files: `mkfs/`, `loop` and erofs, on the real kernel. Needs root. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { runCommand } from '../../platform/command.ts';
import type { Mount } from '../../platform/mount.ts';
import { MountLab, platform } from './mount-lab.fixture.ts';

const needsRoot = process.getuid?.() === 0 ? false : 'needs root';

const run = async (file: string, ...args: string[]): Promise<number | undefined> => {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
  try {
    return (await runCommand(platform.processes, { file, args, env })).status;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
};

const noErofs = (await run('mkfs.erofs', '--help')) === undefined ? 'needs mkfs.erofs (erofs-utils)' : false;

void describe('file systems in files', { skip: needsRoot }, () => {
  void test('mkfs makes a file system once, loop makes it a device, and the next mount uses it', async () => {
    await using lab = await MountLab.make();
    const image = join(lab.folder('images'), 'disk');
    const mounts: Mount[] = [
      {
        type: 'mkfs/loop',
        source: image,
        target: '',
        options: [
          'X-containerd.mkfs.size=16MiB',
          'X-containerd.mkfs.uuid=6f1c3b1e-6cb5-4a6e-9a0a-0123456789ab',
        ],
      },
      { type: 'format/ext4', source: '{{ mount 0 }}', target: '', options: [] },
      { type: 'format/mkdir/bind', source: '{{ mount 1 }}', target: '', options: ['rbind'] },
    ];
    const first = await lab.activate('disk', mounts);
    const device = readlinkSync(first.active[0]?.mountPoint ?? '');
    assert.match(device, /^\/dev\/loop\d+$/);
    writeFileSync(join(first.active[1]?.mountPoint ?? '', 'kept'), 'kept');
    assert.equal(readFileSync('/proc/mounts', 'utf8').includes(`${first.system[0]?.source} ext4`), true);
    await lab.manager.deactivate(lab.ctx, 'disk');
    assert.equal(existsSync(`/sys/block/${device.slice('/dev/'.length)}/loop`), false);

    const again = await lab.activate('disk', mounts);
    assert.equal(readFileSync(join(again.active[1]?.mountPoint ?? '', 'kept'), 'utf8'), 'kept');
    assert.equal(existsSync(`${image}.mkfs`), false);
  });

  void test('a file system that several want at once is made once, and whole', async () => {
    await using lab = await MountLab.make();
    const image = join(lab.folder('images'), 'disk');
    const options = ['X-containerd.mkfs.size=64MiB'];
    const names = ['one', 'two', 'three', 'four'];
    const activations = await Promise.all(
      names.map((name) =>
        lab.activate(name, [
          { type: 'mkfs/loop', source: image, target: '', options },
          { type: 'format/ext4', source: '{{ mount 0 }}', target: '', options: ['ro'] },
          { type: 'format/mkdir/bind', source: '{{ mount 1 }}', target: '', options: ['rbind'] },
        ]),
      ),
    );
    for (const { active } of activations)
      assert.ok(existsSync(join(active[1]?.mountPoint ?? '', 'lost+found')));
    const files = activations.map(({ active }) => {
      const device = readlinkSync(active[0]?.mountPoint ?? '').slice('/dev/'.length);
      return readFileSync(`/sys/block/${device}/loop/backing_file`, 'utf8').trim();
    });
    assert.deepEqual(
      files,
      names.map(() => image),
    );
  });

  void test('erofs files are mounted, loop option or not', { skip: noErofs }, async () => {
    await using lab = await MountLab.make();
    writeFileSync(join(lab.folder('tree'), 'file'), 'in erofs');
    const image = join(lab.root, 'layer.erofs');
    assert.equal(await run('mkfs.erofs', image, join(lab.root, 'tree')), 0);
    const erofs: Mount = { type: 'erofs', source: image, target: '', options: ['ro', 'loop'] };
    const { active, system } = await lab.activate('e', [erofs]);
    assert.deepEqual(system, []);
    assert.equal(readFileSync(join(active[0]?.mountPoint ?? '', 'file'), 'utf8'), 'in erofs');
  });
});
