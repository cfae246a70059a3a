import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { instantOfMs } from '../../base/time.ts';
import { portablePlatform } from './portable-platform.ts';

const env = { PATH: '/usr/bin:/bin' };

describe('the portable twin', () => {
  const { files, mounts, processes, terminals, sockets, cgroups, namespaces } = portablePlatform();
  const folder = mkdtempSync(join(tmpdir(), 'gantry-portable-'));
  after(() => rmSync(folder, { recursive: true }));
  const at = (name: string): string => join(folder, name);
  const isUnimplemented = (error: unknown): boolean => hasCode(error, 'Unimplemented');

  test('no FFI is loaded by it', () => {
    const script = `
      const { registerHooks } = await import('node:module');
      registerHooks({ resolve(name, context, next) {
        if (name === 'koffi') throw new Error('koffi was asked for');
        return next(name, context);
      } });
      const { selectPlatform } = await import(${JSON.stringify(new URL('../select.ts', import.meta.url).href)});
      process.stdout.write((await selectPlatform()).name);
    `;
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, GANTRY_PLATFORM: 'portable' },
      encoding: 'utf8',
    });
    assert.equal(run.stdout, 'portable', run.stderr);
  });

  test('times are set to the millisecond', () => {
    writeFileSync(at('file'), 'abc');
    const [accessed, modified] = [instantOfMs(1_600_000_000_250), instantOfMs(1_700_000_000_500)];
    files.setTimes(at('file'), accessed, modified);
    const status = files.lstat(at('file'));
    assert.deepEqual([status.kind, status.sizeBytes], ['file', 3]);
    for (const [got, wanted] of [
      [status.accessedAt, accessed],
      [status.modifiedAt, modified],
    ] as const)
      assert.ok(got - wanted < 1_000_000n && wanted - got < 1_000_000n);
  });

  test('files are whole, and have no extended attributes', async () => {
    const fd = openSync(at('file'), 'r');
    assert.deepEqual(files.dataRanges(fd, 3), [{ offset: 0, lengthBytes: 3 }]);
    closeSync(fd);
    assert.deepEqual(files.listXattrs(at('file')), []);
    await files.syncFileSystem(folder);
  });

  test('a lock excludes others, and one of a dead holder is taken over', () => {
    {
      using held = files.tryLock(at('lock'));
      assert.ok(held !== undefined);
      assert.equal(files.tryLock(at('lock')), undefined);
    }
    const dead = spawnSync('true').pid;
    writeFileSync(at('lock.pid'), `${dead} left-behind`);
    using taken = files.tryLock(at('lock'));
    assert.ok(taken !== undefined);
    assert.equal(files.tryLock(at('lock')), undefined);
    assert.deepEqual(
      readdirSync(folder)
        .filter((name) => name.startsWith('lock'))
        .sort(),
      ['lock', 'lock.pid'],
    );
  });

  test('children end with the status that shells report', async () => {
    const run = (script: string): number =>
      processes.spawn({ file: 'sh', args: ['-c', script], env, stdio: ['null', 'null', 'null'] });
    assert.equal((await processes.exited(run('exit 4'))).status, 4);
    const pid = run('exec sleep 100');
    processes.kill(pid, 15);
    const [first, second] = await Promise.all([processes.exited(pid), processes.exited(pid)]);
    assert.deepEqual([first.status, second], [143, first]);
    assert.deepEqual(
      [processes.list(), processes.children(process.pid)],
      [[], []],
      'it has no look at others',
    );
    assert.equal(processes.isAlive(pid), false);
    await assert.rejects(processes.exited(0x3f_ffff), (error) => hasCode(error, 'NotFound'));
  });

  test('what it cannot do says so by name', async () => {
    for (const call of [
      () => mounts.mount({ type: 'tmpfs', source: 'tmpfs', target: '', options: [] }, folder),
      () => files.makeDevice(at('x'), 'block', 0o600, 1, 1),
      () => files.makeFifo(at('x'), 0o600),
      () => files.setXattr(at('file'), 'user.x', Buffer.from('v')),
      () => files.confineThread(folder),
      () => processes.becomeSubreaper(),
      () => processes.adopt(1),
      () => terminals.open(),
      () => sockets.peerCredentials(0),
      () => cgroups.watchMemory(at('x'), () => {}),
      () => namespaces.makeNetwork(at('x')),
    ])
      assert.throws(call, isUnimplemented);
    await assert.rejects(terminals.consoleSocket(at('x')), isUnimplemented);
    mounts.unmountAll(folder);
  });
});
