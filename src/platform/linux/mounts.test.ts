/** Real mounts; needs root (CAP_SYS_ADMIN) and overlayfs. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import type { Mount } from '../mount.ts';
import { LinuxLoops } from './loop-devices.ts';
import { LinuxMounts } from './mounts.ts';
import { splitLowerDirs } from './overlay-mount.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root: it mounts file systems';

const bind = (source: string, ...options: string[]): Mount => ({
  type: 'bind',
  source,
  target: '',
  options: [options.includes('rbind') ? 'rbind' : 'bind', ...options],
});

describe('mounts of Linux', { skip }, () => {
  const mounts = new LinuxMounts({ loops: new LinuxLoops() });
  let folder = '';
  let target = '';
  let descriptors: string[] = [];

  const make = (name: string): string => {
    const path = join(folder, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  const infoOf = (path: string) => mounts.list().findLast(({ mountPoint }) => mountPoint === path);

  beforeEach(() => {
    descriptors = readdirSync('/proc/self/fd');
    folder = mkdtempSync(join(tmpdir(), 'gantry-mounts-'));
    target = make('target');
  });
  afterEach(() => {
    mounts.unmountAll(folder, { lazy: true });
    assert.deepEqual(
      mounts.list().filter(({ mountPoint }) => mountPoint.startsWith(folder)),
      [],
    );
    rmSync(folder, { recursive: true });
    assert.deepEqual(readdirSync('/proc/self/fd'), descriptors);
  });

  test('a bind mount shows its source and takes flags', () => {
    const source = make('source');
    writeFileSync(join(source, 'file'), 'x');
    mounts.mount(bind(source, 'ro', 'nosuid', 'nodev', 'noexec'), target);
    assert.equal(readFileSync(join(target, 'file'), 'utf8'), 'x');
    assert.throws(() => writeFileSync(join(target, 'file'), 'y'), { code: 'EROFS' });
    const options = infoOf(target)?.options ?? [];
    for (const word of ['ro', 'nosuid', 'nodev', 'noexec']) assert.ok(options.includes(word), word);
    mounts.unmount(target);
    assert.equal(existsSync(join(target, 'file')), false);
    // Once more is not an error, nor is a place that does not exist.
    mounts.unmount(target);
    mounts.unmount(join(folder, 'absent'));
  });

  test('the last word wins', () => {
    mounts.mount(bind(make('source'), 'ro', 'rw'), target);
    writeFileSync(join(target, 'file'), 'y');
  });

  test('a file system takes its data and can be mounted again with other flags', () => {
    mounts.mount(
      { type: 'tmpfs', source: 'tmpfs', target: '', options: ['nosuid', 'size=64k', 'mode=711'] },
      target,
    );
    assert.equal(statSync(target).mode & 0o777, 0o711);
    assert.ok(infoOf(target)?.superOptions.includes('size=64k'));
    mounts.mount({ type: 'tmpfs', source: 'tmpfs', target: '', options: ['remount', 'ro'] }, target);
    assert.ok(infoOf(target)?.options.includes('ro'));
  });

  test('propagation is set after the mount', () => {
    mounts.mount({ type: 'tmpfs', source: 'tmpfs', target: '', options: ['rshared'] }, target);
    assert.match(
      readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .find((line) => line.includes(target)) ?? '',
      / shared:\d+ /,
    );
    mounts.mount(
      { type: 'none', source: 'none', target: '', options: ['remount', 'bind', 'ro', 'private'] },
      target,
    );
    assert.doesNotMatch(
      readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .find((line) => line.includes(target)) ?? '',
      / shared:/,
    );
  });

  test('rbind brings what is mounted below; unmountAll takes stacks and what lies below', () => {
    const source = make('source');
    const below = make('source/below');
    mounts.mount({ type: 'tmpfs', source: 'tmpfs', target: '', options: [] }, below);
    writeFileSync(join(below, 'file'), 'z');
    mounts.mount(bind(source), target);
    mounts.mount(bind(source, 'rbind', 'rprivate'), target);
    assert.equal(readFileSync(join(target, 'below', 'file'), 'utf8'), 'z');
    mounts.unmountAll(target);
    assert.equal(infoOf(target), undefined);
    assert.equal(infoOf(join(target, 'below')), undefined);
    assert.equal(readFileSync(join(below, 'file'), 'utf8'), 'z');
  });

  test('a busy mount is reported, and goes when it is unmounted lazily', () => {
    mounts.mount({ type: 'tmpfs', source: 'tmpfs', target: '', options: [] }, target);
    const fd = openSync(join(target, 'file'), 'w');
    try {
      assert.throws(
        () => mounts.unmount(target),
        (error) => hasCode(error, 'FailedPrecondition'),
      );
      mounts.unmount(target, { lazy: true });
      assert.equal(infoOf(target), undefined);
    } finally {
      closeSync(fd);
    }
  });

  test('a symlink is never unmounted through', () => {
    mounts.mount({ type: 'tmpfs', source: 'tmpfs', target: '', options: [] }, target);
    const link = join(folder, 'link');
    symlinkSync(target, link);
    mounts.unmount(link);
    mounts.unmountAll(link);
    assert.ok(infoOf(target) !== undefined);
  });

  test('failures name the call, the target and the reason, and leave nothing mounted', () => {
    assert.throws(
      () => mounts.mount(bind(join(folder, 'absent')), target),
      (error) => hasCode(error, 'NotFound') && /target: no such file/.test(String(error)),
    );
    assert.throws(() => mounts.mount({ type: 'no-such-fs', source: 'x', target: '', options: [] }, target));
    assert.throws(
      () => mounts.mount(bind(make('source'), 'uidmap=0:1:1'), target),
      (error) => hasCode(error, 'InvalidArgument'),
    );
    assert.throws(
      () => mounts.mount(bind(make('source'), 'evil\0'), target),
      (error) => hasCode(error, 'InvalidArgument'),
    );
    assert.equal(infoOf(target), undefined);
  });

  function layers(count: number, pad: string): string[] {
    return Array.from({ length: count }, (_, index) => {
      const layer = make(`${pad}${index}`);
      writeFileSync(join(layer, `file-${index}`), String(index));
      writeFileSync(join(layer, 'top'), String(index));
      return layer;
    });
  }

  for (const [what, count, pad] of [
    ['a few layers', 3, 'l'],
    ['128 layers, whose names do not fit into a page', 128, 'a-layer-with-quite-a-long-name-'],
    ['64 layers with names that fsconfig does not take', 64, `${'deep/'.repeat(50)}layer-`],
  ] as const)
    test(`overlay of ${what}`, () => {
      const lower = layers(count, pad);
      const options = [
        'index=off',
        `workdir=${make('work')}`,
        `upperdir=${make('upper')}`,
        `lowerdir=${lower.join(':')}`,
      ];
      mounts.mount({ type: 'overlay', source: 'overlay', target: '', options }, target);
      assert.equal(infoOf(target)?.fileSystemType, 'overlay');
      assert.equal(readFileSync(join(target, 'top'), 'utf8'), '0');
      for (let index = 0; index < count; index += 1) assert.ok(existsSync(join(target, `file-${index}`)));
      writeFileSync(join(target, 'new'), '');
      assert.ok(existsSync(join(folder, 'upper', 'new')));
    });

  test('a long overlay without an upper directory can be read-only', () => {
    const lower = layers(100, 'a-layer-with-quite-a-long-name-');
    const options = ['ro', 'nodev', `lowerdir=${lower.join(':')}`];
    mounts.mount({ type: 'overlay', source: 'overlay', target: '', options }, target);
    const info = infoOf(target);
    assert.ok(info?.options.includes('ro') && info.options.includes('nodev'), String(info?.options));
    assert.throws(() => writeFileSync(join(target, 'new'), ''), { code: 'EROFS' });
  });

  test('an id-mapped bind mount shifts owners', () => {
    const source = make('source');
    writeFileSync(join(source, 'file'), '');
    mounts.mount(bind(source, 'uidmap=0:100000:65536', 'gidmap=0:200000:65536'), target);
    const { uid, gid } = statSync(join(target, 'file'));
    assert.deepEqual([uid, gid], [100_000, 200_000]);
  });

  test('an id-mapped overlay shifts the owners of its layers', () => {
    const lower = layers(3, 'l');
    const options = [
      'uidmap=0:100000:65536',
      'gidmap=0:100000:65536',
      `workdir=${make('work')}`,
      `upperdir=${make('upper')}`,
      `lowerdir=${lower.join(':')}`,
    ];
    mounts.mount({ type: 'overlay', source: 'overlay', target: '', options }, target);
    assert.equal(statSync(join(target, 'file-1')).uid, 100_000);
    assert.deepEqual(
      mounts.list().filter(({ mountPoint }) => mountPoint.includes('gantry-idmap-')),
      [],
    );
  });
});

test('lower directories are split at colons that are not escaped', () => {
  assert.deepEqual(splitLowerDirs('/a:/b\\:c:/d'), ['/a', '/b:c', '/d']);
});
