import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { digestOf } from '../../base/digest.ts';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import { silentLogger } from '../../base/logger.ts';
import { instantOfNs } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import type { AppliedLayer } from './apply-protocol.ts';
import { LayerApplier } from './layer-applier.ts';
import type { TarEntry } from './tar-entry.ts';
import { tarEnd, tarEntryHeader, tarPadding } from './tar-writer.ts';

const second = 1_000_000_000n;
type Entry = Partial<TarEntry> & { path: string; text?: string };

function tarOf(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  for (const { text = '', ...fields } of entries) {
    const data = Buffer.from(text);
    const entry: TarEntry = {
      kind: 'file',
      linkPath: '',
      mode: 0o644,
      uid: 0,
      gid: 0,
      modifiedAt: instantOfNs(1_600_000_000n * second),
      deviceMajor: 0,
      deviceMinor: 0,
      xattrs: new Map(),
      ...fields,
      sizeBytes: data.length,
    };
    parts.push(tarEntryHeader(entry), data, tarPadding(data.length));
  }
  return Buffer.concat([...parts, tarEnd()]);
}

const bindMount = (source: string): Mount[] => [
  { type: 'bind', source, target: '', options: ['rw', 'rbind'] },
];
const overlayMount = (upper: string, lowers: readonly string[]): Mount[] => [
  {
    type: 'overlay',
    source: 'overlay',
    target: '',
    options: [
      `workdir=${upper}-work`,
      `upperdir=${upper}`,
      ...(lowers.length > 0 ? [`lowerdir=${lowers.join(':')}`] : []),
    ],
  },
];

describe('LayerApplier', () => {
  let platform: Platform;
  let applier: LayerApplier;
  let scratch: string;

  before(async () => {
    platform = await selectPlatform();
    scratch = mkdtempSync(join(tmpdir(), 'gantry-apply-'));
    applier = new LayerApplier({ platform, log: silentLogger }, { tempRoot: join(scratch, 'mounts') });
  });
  after(async () => {
    await applier[Symbol.asyncDispose]();
    rmSync(scratch, { recursive: true });
  });

  const folder = (): string => mkdtempSync(join(scratch, 'root-'));
  const source = (bytes: Uint8Array) => ({
    open: async function* (): AsyncGenerator<Uint8Array, void> {
      for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
    },
  });
  const apply = (tar: Uint8Array, mounts: readonly Mount[]): Promise<AppliedLayer> =>
    applier.apply(source(tar), mounts);
  const applyTo = (root: string, entries: readonly Entry[]): Promise<AppliedLayer> =>
    apply(tarOf(entries), bindMount(root));

  const refuses = async (entries: readonly Entry[], message: RegExp, root = folder()): Promise<void> => {
    await assert.rejects(applyTo(root, entries), (error) => {
      assert.ok(error instanceof ContainerdError);
      assert.equal(error.code, 'InvalidArgument', error.message);
      assert.match(error.message, message);
      return true;
    });
  };

  it('writes files with mode, owner, times and xattrs, and answers the diffID', async () => {
    const root = folder();
    const tar = tarOf([
      { path: './', kind: 'directory', mode: 0o751 },
      { path: 'bin/', kind: 'directory', mode: 0o1777, modifiedAt: instantOfNs(5n * second + 7n) },
      {
        path: 'bin/su',
        text: 'su',
        mode: 0o4755,
        uid: 12,
        gid: 34,
        modifiedAt: instantOfNs(123_456_789_987_654_321n),
        xattrs: new Map([['user.note', Buffer.from([0, 1, 0xff])]]),
      },
      { path: 'bin/sh', kind: 'symlink', linkPath: '/bin/su' },
      { path: 'bin/sudo', kind: 'hardlink', linkPath: 'bin/su', mode: 0o4755, uid: 12, gid: 34 },
      { path: 'dev/null', kind: 'character', deviceMajor: 1, deviceMinor: 3, mode: 0o666 },
      { path: 'fifo', kind: 'fifo', mode: 0o600 },
    ]);
    const layer = await apply(gzipSync(tar), bindMount(root));
    assert.deepEqual(layer, { diffId: digestOf(tar), sizeBytes: tar.length, hasRoot: true });
    const su = platform.files.lstat(join(root, 'bin/su'));
    assert.deepEqual([su.mode, su.uid, su.gid, su.linkCount], [0o4755, 12, 34, 2]);
    assert.equal(platform.files.lstat(join(root, 'bin')).modifiedAt, 5n * second + 7n);
    assert.equal(platform.files.lstat(join(root, 'bin')).mode, 0o1777);
    assert.equal(statSync(root).mode & 0o7777, 0o751);
    assert.deepEqual(platform.files.getXattr(join(root, 'bin/su'), 'user.note'), Buffer.from([0, 1, 0xff]));
    assert.equal(readlinkSync(join(root, 'bin/sh')), '/bin/su');
    assert.equal(platform.files.lstat(join(root, 'dev/null')).deviceMinor, 3);
    assert.equal(platform.files.lstat(join(root, 'fifo')).kind, 'fifo');
  });

  it('keeps the main thread and libuv pool out of the confinement', async () => {
    const root = folder();
    await applyTo(root, [{ path: 'inside', text: 'x' }]);
    const seen = await Promise.all(Array.from({ length: 16 }, () => readdir('/')));
    for (const names of seen) assert.ok(names.includes('proc') && !names.includes('inside'));
    assert.equal((await readFile(join(root, 'inside'))).toString(), 'x');
  });

  it('refuses names that leave the layer', async () => {
    await refuses([{ path: '../evil', text: 'x' }], /"\.\.\/evil".*leaves the layer/);
    await refuses([{ path: 'a/../../evil', text: 'x' }], /leaves the layer/);
    await refuses([{ path: 'a', kind: 'hardlink', linkPath: '../../etc/passwd' }], /leaves the layer/);
    await refuses([{ path: '.wh...', text: '' }], /whiteout is invalid/);
    await refuses([{ path: '.wh.', text: '' }], /whiteout is invalid/);
  });

  it('keeps absolute names and symlinked parents inside the root', async () => {
    const root = folder();
    const outside = folder();
    symlinkSync(outside, join(root, 'escape'));
    await applyTo(root, [
      { path: '/etc/passwd', text: 'ours' },
      { path: 'up', kind: 'symlink', linkPath: '../../../..' },
      { path: 'up/top', text: 'top' },
      { path: 'abs', kind: 'symlink', linkPath: outside },
      { path: 'abs/file', text: 'in' },
      { path: 'escape/file', text: 'in' },
    ]);
    assert.equal(readFileSync(join(root, 'etc/passwd'), 'utf8'), 'ours');
    assert.equal(readFileSync(join(root, 'top'), 'utf8'), 'top');
    assert.equal(readFileSync(join(root, outside, 'file'), 'utf8'), 'in');
    assert.deepEqual(readdirSync(outside), []);
  });

  it('does not write, chmod or hide through a final symlink', async () => {
    const root = folder();
    const outside = join(folder(), 'victim');
    writeFileSync(outside, 'safe', { mode: 0o600 });
    for (const name of ['a', 'b', 'c']) symlinkSync(outside, join(root, name));
    await applyTo(root, [
      { path: 'a', text: 'evil', mode: 0o777 },
      { path: 'b', kind: 'directory', mode: 0o777 },
      { path: 'd', kind: 'hardlink', linkPath: 'c', mode: 0o777 },
      { path: '.wh.c' },
    ]);
    assert.equal(readFileSync(outside, 'utf8'), 'safe');
    assert.equal(statSync(outside).mode & 0o777, 0o600);
    assert.ok(lstatSync(join(root, 'b')).isDirectory());
    assert.ok(lstatSync(join(root, 'd')).isSymbolicLink());
  });

  it('refuses a loop of symlinks, a file as a parent and a hard link to nothing', async () => {
    await refuses(
      [
        { path: 'a', kind: 'symlink', linkPath: 'b' },
        { path: 'b', kind: 'symlink', linkPath: 'a' },
        { path: 'a/x', text: '' },
      ],
      /too many symlinks/,
    );
    await refuses(
      [
        { path: 'a', text: '' },
        { path: 'a/b', text: '' },
      ],
      /parent "a" is not a directory/,
    );
    await refuses([{ path: 'a', kind: 'hardlink', linkPath: 'gone' }], /"a".*"gone", which is not there/);
  });

  it('replaces files by directories and the reverse, and takes the last of duplicates', async () => {
    const root = folder();
    mkdirSync(join(root, 'dir/sub'), { recursive: true });
    writeFileSync(join(root, 'file'), 'old');
    await applyTo(root, [
      { path: 'dir', text: 'now a file' },
      { path: 'file', kind: 'directory' },
      { path: 'file/inner', text: '1' },
      { path: 'file/inner', text: '22' },
      { path: 'twice', kind: 'directory' },
      { path: 'twice', text: 'file' },
      { path: 'twice', kind: 'directory', modifiedAt: instantOfNs(9n * second) },
    ]);
    assert.equal(readFileSync(join(root, 'dir'), 'utf8'), 'now a file');
    assert.equal(readFileSync(join(root, 'file/inner'), 'utf8'), '22');
    assert.equal(platform.files.lstat(join(root, 'twice')).modifiedAt, 9n * second);
  });

  it('carries whiteouts out in a plain directory, but not on its own entries', async () => {
    const root = folder();
    await applyTo(root, [
      { path: 'gone', text: '' },
      { path: 'tree/deep/file', text: '' },
      { path: 'opaque/old', text: '' },
      { path: 'opaque/sub/old', text: '' },
    ]);
    await applyTo(root, [
      { path: '.wh.gone' },
      { path: '.wh.tree' },
      { path: '.wh.never-was' },
      { path: 'nowhere/.wh.x' },
      { path: '.wh..wh.plnk/12.34', text: 'aufs' },
      { path: 'opaque/sub/new', text: '' },
      { path: 'opaque/.wh..wh..opq' },
      { path: 'opaque/late', text: '' },
      { path: 'mine', text: 'kept' },
      { path: '.wh.mine' },
    ]);
    assert.deepEqual(readdirSync(root).sort(), ['mine', 'opaque']);
    assert.deepEqual(readdirSync(join(root, 'opaque')).sort(), ['late', 'sub']);
    assert.deepEqual(readdirSync(join(root, 'opaque/sub')), ['new']);
  });

  const isHole = (path: string): boolean => {
    const status = platform.files.lstat(path);
    return status.kind === 'character' && status.deviceMajor === 0 && status.deviceMinor === 0;
  };
  const isOpaque = (path: string): boolean =>
    platform.files.getXattr(path, 'trusted.overlay.opaque')?.toString() === 'y';

  it('keeps whiteouts in the form of overlayfs in an upper directory', async () => {
    const [upper, lower] = [folder(), folder()];
    await applyTo(lower, [
      { path: 'etc', kind: 'directory', mode: 0o700, uid: 5, gid: 6, modifiedAt: instantOfNs(77n) },
      { path: 'etc/gone', text: '' },
      { path: 'was', kind: 'directory' },
      { path: 'was/old', text: 'old' },
      { path: 'opq', kind: 'directory' },
      { path: 'lib', kind: 'symlink', linkPath: 'usr/lib' },
      { path: 'usr/lib', kind: 'directory', mode: 0o711 },
      { path: 'usr/lib/so', text: 'so', mode: 0o640, uid: 3, gid: 4 },
    ]);
    const mounts = overlayMount(upper, [lower]);
    const tar = tarOf([
      { path: 'etc/.wh.gone' },
      { path: '.wh.was' },
      { path: 'was', kind: 'directory' },
      { path: 'was/new', text: 'new' },
      { path: 'opq/.wh..wh..opq' },
      { path: 'lib/added', text: 'added' },
      { path: 'so-link', kind: 'hardlink', linkPath: 'lib/so', mode: 0o640, uid: 3, gid: 4 },
      { path: 'nowhere/.wh.x' },
      { path: 'sneaky', text: '', xattrs: new Map([['trusted.overlay.redirect', Buffer.from('/etc')]]) },
    ]);
    await apply(tar, mounts);
    const etc = platform.files.lstat(join(upper, 'etc'));
    assert.deepEqual([etc.mode, etc.uid, etc.gid, etc.modifiedAt], [0o700, 5, 6, 77n]);
    assert.ok(isHole(join(upper, 'etc/gone')));
    assert.ok(isOpaque(join(upper, 'was')) && isOpaque(join(upper, 'opq')));
    assert.ok(!existsSync(join(upper, 'lib')) && !existsSync(join(upper, 'nowhere')));
    assert.equal(statSync(join(upper, 'usr/lib')).mode & 0o7777, 0o711);
    assert.equal(readFileSync(join(upper, 'usr/lib/added'), 'utf8'), 'added');
    assert.equal(readFileSync(join(upper, 'so-link'), 'utf8'), 'so');
    assert.equal(statSync(join(upper, 'so-link')).ino, statSync(join(upper, 'usr/lib/so')).ino);
    assert.deepEqual(platform.files.listXattrs(join(upper, 'sneaky')), []);
  });

  it('keeps whiteouts of a layer whose parents are not known yet', async () => {
    const upper = folder();
    const mounts: Mount[] = [
      { type: 'overlay', source: 'overlay', target: '', options: ['rw', `upperdir=${upper}`] },
    ];
    await apply(tarOf([{ path: 'etc/.wh.gone' }, { path: 'etc/.wh..wh..opq' }]), mounts);
    assert.ok(isHole(join(upper, 'etc/gone')) && isOpaque(join(upper, 'etc')));
  });

  it('reads what GNU tar writes, in each of its formats, sparse files too', async () => {
    const from = folder();
    const long = `${'d'.repeat(90)}/${'e'.repeat(90)}`;
    mkdirSync(join(from, long), { recursive: true });
    writeFileSync(join(from, long, 'f'.repeat(200)), 'deep');
    symlinkSync('t'.repeat(150), join(from, 'long-link'));
    execFileSync('truncate', ['-s', '3000000', join(from, 'holes')]);
    for (const seek of [0, 100, 200, 300, 400, 500, 600])
      execFileSync('dd', [
        'if=/bin/ls',
        `of=${join(from, 'holes')}`,
        'bs=4096',
        'count=1',
        `seek=${seek}`,
        'conv=notrunc',
        'status=none',
      ]);
    const formats = [
      ['--format=gnu'],
      ['--format=posix'],
      ['--format=gnu', '--sparse'],
      ['--format=posix', '--sparse', '--sparse-version=0.0'],
      ['--format=posix', '--sparse', '--sparse-version=0.1'],
      ['--format=posix', '--sparse', '--sparse-version=1.0'],
    ];
    for (const options of formats) {
      const tar = execFileSync('tar', ['-C', from, ...options, '-cf', '-', '.'], { maxBuffer: 2 ** 26 });
      const root = folder();
      await apply(tar, bindMount(root));
      execFileSync('diff', ['-r', '--no-dereference', from, root]);
      if (options.includes('--sparse'))
        assert.ok(platform.files.lstat(join(root, 'holes')).blocks * 512 < 1_000_000, options.join(' '));
      else assert.equal(statSync(join(root, 'holes')).size, 3_000_000);
    }
  });

  it('mounts what it cannot write directly', async () => {
    const root = folder();
    mkdirSync(join(root, 'inner'));
    await apply(tarOf([{ path: 'hello', text: 'x' }]), [
      { type: 'bind', source: root, target: '', options: ['rbind', 'rw', 'nosuid'] },
    ]);
    assert.equal(readFileSync(join(root, 'hello'), 'utf8'), 'x');
    assert.deepEqual(readdirSync(join(scratch, 'mounts')), []);
  });

  it('tells a full disk by ResourceExhausted and a read-only mount by FailedPrecondition', async () => {
    const root = folder();
    const tmpfs: Mount[] = [{ type: 'tmpfs', source: 'tmpfs', target: '', options: ['size=64k'] }];
    const big = tarOf([{ path: 'big', text: 'x'.repeat(1_000_000) }]);
    await assert.rejects(apply(big, tmpfs), (error) => hasCode(error, 'ResourceExhausted'));
    const readOnly = [{ ...bindMount(root)[0]!, options: ['ro', 'rbind'] }];
    await assert.rejects(apply(big, readOnly), (error) => hasCode(error, 'FailedPrecondition'));
  });

  it('fails with what the source throws, and by Canceled when told to stop', async () => {
    const broken = async function* (): AsyncGenerator<Uint8Array, void> {
      yield tarOf([{ path: 'a', text: 'x' }]).subarray(0, 700);
      throw new ContainerdError('Unavailable', 'line cut');
    };
    await assert.rejects(applier.apply({ open: broken }, bindMount(folder())), /line cut/);
    const controller = new AbortController();
    const stalled = async function* (signal: AbortSignal): AsyncGenerator<Uint8Array, void> {
      yield Buffer.alloc(512);
      controller.abort();
      if (!signal.aborted) await once(signal, 'abort');
    };
    const { signal } = controller;
    await assert.rejects(applier.apply({ open: stalled }, bindMount(folder()), { signal }), (error) =>
      hasCode(error, 'Canceled'),
    );
  });

  it('refuses cut and damaged archives by InvalidArgument', async () => {
    const whole = tarOf([{ path: 'some-file', text: 'x'.repeat(2000) }]);
    const isInvalid = (error: unknown): boolean => hasCode(error, 'InvalidArgument');
    await assert.rejects(apply(whole.subarray(0, 1000), bindMount(folder())), isInvalid);
    const damaged = Buffer.from(whole);
    damaged[3]! ^= 0x55;
    await assert.rejects(apply(damaged, bindMount(folder())), isInvalid);
  });
});
