/** Needs root for devices, trusted attributes and chroot. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { hasCode } from '../../base/errors.ts';
import { instantOfNs } from '../../base/time.ts';
import { needsRoot } from '../../testing/needs-root.ts';
import { LinuxFiles } from './files.ts';

const skip = needsRoot('it makes devices and confines a thread');

describe('files of Linux', { skip }, () => {
  const files = new LinuxFiles();
  const folder = mkdtempSync(join(tmpdir(), 'gantry-files-'));
  after(() => rmSync(folder, { recursive: true }));
  const at = (name: string): string => join(folder, name);
  const isCode = (code: Parameters<typeof hasCode>[1]) => (error: unknown) => hasCode(error, code);

  test('times keep every nanosecond, before the epoch too, and links are not followed', () => {
    writeFileSync(at('file'), 'x');
    symlinkSync('file', at('link'));
    const [accessed, modified] = [instantOfNs(1_700_000_000_123_456_789n), instantOfNs(-1_500_000_001n)];
    files.setTimes(at('file'), accessed, modified);
    files.setTimes(at('link'), modified, accessed);
    const [file, link] = [files.lstat(at('file')), files.lstat(at('link'))];
    assert.deepEqual([file.accessedAt, file.modifiedAt], [accessed, modified]);
    assert.deepEqual([link.accessedAt, link.modifiedAt], [modified, accessed]);
    assert.throws(() => files.setTimes(at('absent'), accessed, modified), isCode('NotFound'));
  });

  test('lstat tells kinds, modes, links and sizes', () => {
    writeFileSync(at('one'), 'hello', { mode: 0o640 });
    linkSync(at('one'), at('two'));
    const status = files.lstat(at('two'));
    assert.deepEqual([status.kind, status.mode, status.sizeBytes, status.linkCount], ['file', 0o640, 5, 2]);
    assert.equal(status.inode, files.lstat(at('one')).inode);
    assert.equal(files.lstat(folder).kind, 'directory');
    assert.throws(() => files.lstat(at('absent')), isCode('NotFound'));
  });

  test('devices and FIFOs are made with the mode asked for, whatever the umask', () => {
    files.makeDevice(at('null'), 'character', 0o666, 1, 3);
    const device = files.lstat(at('null'));
    assert.deepEqual(
      [device.kind, device.mode, device.deviceMajor, device.deviceMinor],
      ['character', 0o666, 1, 3],
    );
    files.makeDevice(at('block'), 'block', 0o4600, 259, 70_000);
    const block = files.lstat(at('block'));
    assert.deepEqual(
      [block.kind, block.mode, block.deviceMajor, block.deviceMinor],
      ['block', 0o4600, 259, 70_000],
    );
    files.makeFifo(at('fifo'), 0o622);
    assert.deepEqual([files.lstat(at('fifo')).kind, files.lstat(at('fifo')).mode], ['fifo', 0o622]);
    assert.throws(() => files.makeFifo(at('fifo'), 0o600), isCode('AlreadyExists'));
  });

  test('a FIFO passes bytes; a writer without a reader and a plain file are refused', () => {
    files.makeFifo(at('pipe'), 0o600);
    assert.throws(() => files.openFifo(at('pipe'), 'write', { nonBlocking: true }), isCode('Unavailable'));
    const reader = files.openFifo(at('pipe'), 'read', { nonBlocking: true });
    const writer = files.openFifo(at('pipe'), 'write', { nonBlocking: true });
    writeSync(writer, 'through');
    const bytes = Buffer.alloc(16);
    assert.equal(bytes.toString('utf8', 0, readSync(reader, bytes)), 'through');
    closeSync(reader);
    closeSync(writer);
    writeFileSync(at('plain'), '');
    assert.throws(
      () => files.openFifo(at('plain'), 'read', { nonBlocking: true }),
      isCode('InvalidArgument'),
    );
  });

  test('extended attributes of any size the file system takes, also on links', () => {
    writeFileSync(at('attributes'), '');
    symlinkSync('attributes', at('attributes-link'));
    const value = Buffer.alloc(3000, 'v');
    files.setXattr(at('attributes'), 'user.big', value);
    files.setXattr(at('attributes'), 'user.empty', Buffer.alloc(0));
    files.setXattr(at('attributes'), 'user.bytes', new Uint8Array([0, 255, 1]));
    files.setXattr(at('attributes-link'), 'trusted.link', Buffer.from('l'));
    assert.deepEqual(files.listXattrs(at('attributes')).sort(), ['user.big', 'user.bytes', 'user.empty']);
    assert.deepEqual(files.listXattrs(at('attributes-link')), ['trusted.link']);
    assert.deepEqual(files.getXattr(at('attributes'), 'user.big'), value);
    assert.deepEqual(files.getXattr(at('attributes'), 'user.empty'), Buffer.alloc(0));
    assert.deepEqual(files.getXattr(at('attributes'), 'user.bytes'), Buffer.from([0, 255, 1]));
    assert.equal(files.getXattr(at('attributes'), 'user.absent'), undefined);
    files.removeXattr(at('attributes'), 'user.big');
    files.removeXattr(at('attributes'), 'user.big');
    assert.equal(files.getXattr(at('attributes'), 'user.big'), undefined);
    assert.deepEqual(files.listXattrs('/proc/self/status'), []);
  });

  test('holes are found, and the offset of the descriptor stays', () => {
    const fd = openSync(at('sparse'), 'w+');
    try {
      writeSync(fd, 'head', 0);
      writeSync(fd, 'tail', 4 * 1024 * 1024);
      ftruncateSync(fd, 8 * 1024 * 1024);
      const ranges = files.dataRanges(fd, 8 * 1024 * 1024);
      assert.equal(ranges.length, 2);
      assert.equal(ranges[0]?.offset, 0);
      assert.equal(ranges[1]?.offset, 4 * 1024 * 1024);
      assert.ok(ranges.every(({ lengthBytes }) => lengthBytes >= 4 && lengthBytes < 1024 * 1024));
      const bytes = Buffer.alloc(4);
      readSync(fd, bytes);
      assert.equal(bytes.toString(), 'head');
      ftruncateSync(fd, 0);
      assert.deepEqual(files.dataRanges(fd, 0), []);
    } finally {
      closeSync(fd);
    }
  });

  test('a lock excludes this process and others, and is free again afterwards', () => {
    const tryOther = (): number | null => spawnSync('flock', ['-n', at('lock'), 'true']).status;
    {
      using held = files.tryLock(at('lock'));
      assert.ok(held !== undefined);
      assert.equal(files.lstat(at('lock')).mode, 0o600);
      assert.equal(files.tryLock(at('lock')), undefined);
      assert.equal(tryOther(), 1);
    }
    assert.equal(tryOther(), 0);
    files.tryLock(at('lock'))?.[Symbol.dispose]();
  });

  test('a confined worker sees its root only, and neither the main thread nor the pool is confined', async () => {
    mkdirSync(at('jail'));
    writeFileSync(join(at('jail'), 'inside'), '');
    // The pool inherits the context of whoever starts it: here the main thread does, as in the daemon.
    await readdir('/');
    const worker = new Worker(new URL('./files.worker.ts', import.meta.url), { workerData: at('jail') });
    const seen = await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    assert.deepEqual(seen, ['inside']);
    assert.ok(readdirSync('/').includes('proc'));
    assert.ok(existsSync(at('jail')));
    const fromPool = await Promise.all(Array.from({ length: 16 }, () => readdir('/')));
    assert.ok(fromPool.every((names) => names.includes('proc')));
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    worker.postMessage('go');
    await exited;
    assert.throws(() => files.confineThread(at('jail')), isCode('FailedPrecondition'));
  });

  test('the file system is synced, and its space is told', async () => {
    await files.syncFileSystem(folder);
    await assert.rejects(files.syncFileSystem(at('absent')), isCode('NotFound'));
    const { freeBytes, totalBytes } = files.diskSpace(folder);
    assert.ok(freeBytes > 0 && freeBytes <= totalBytes);
  });

  test('what is to come in a directory is spread, where the file system can, and nowhere an error', () => {
    mkdirSync(at('spread'));
    files.spreadChildren(at('spread'));
    files.spreadChildren('/proc/self');
    assert.throws(() => files.spreadChildren(at('absent')), isCode('NotFound'));
    const type = spawnSync('stat', ['-f', '-c', '%T', folder], { encoding: 'utf8' }).stdout;
    const shown = spawnSync('lsattr', ['-d', at('spread')], { encoding: 'utf8' }).stdout;
    if (type.includes('ext')) assert.match(shown, /^\S*T/);
  });
});
