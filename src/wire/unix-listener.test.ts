import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { silentLogger } from '../base/logger.ts';
import { rejectsWith } from '../testing/assertions.ts';
import { TtrpcServer } from './ttrpc/server.ts';
import { UnixListener } from './unix-listener.ts';

const us = { pid: process.pid, uid: process.getuid?.() ?? 0, gid: 0 };
const sockets = { peerCredentials: () => us, sendDatagram: (): void => {} };

describe('unix listener', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-listener-'));
  });
  after(() => rm(dir, { recursive: true }));

  it('makes a socket of the mode asked for, and takes it away', async () => {
    const mask = process.umask();
    const path = join(dir, 'below', 'a.sock');
    const listener = await UnixListener.listen({ sockets }, path, { mode: 0o660, uid: us.uid, gid: 0 });
    assert.equal(statSync(path).mode & 0o7777, 0o660);
    assert.deepEqual(readdirSync(join(dir, 'below')), ['a.sock']);
    assert.equal(process.umask(), mask);
    await listener.close();
    assert.deepEqual(readdirSync(join(dir, 'below')), []);
    await listener.close();
  });

  it('refuses the place of a server that answers, and of what is no socket', async () => {
    const path = join(dir, 'live');
    const first = await UnixListener.listen({ sockets }, path);
    await rejectsWith(UnixListener.listen({ sockets }, path), 'FailedPrecondition', /another server/);
    assert(existsSync(path));
    await first.close();
    writeFileSync(path, 'text');
    await rejectsWith(UnixListener.listen({ sockets }, path), 'FailedPrecondition', /not a socket/);
    await rejectsWith(
      UnixListener.listen({ sockets }, join(dir, 'x'.repeat(120))),
      'InvalidArgument',
      /107 bytes/,
    );
  });

  it('replaces the socket of a server that was killed', async () => {
    const path = join(dir, 'stale');
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    assert(statSync(path).isSocket());
    const listener = await UnixListener.listen({ sockets }, path);
    const socket = connect({ path });
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.destroy();
    await listener.close();
    assert(!existsSync(path));
  });

  it('leaves a socket alone that is another one by now', async () => {
    const path = join(dir, 'moved');
    const first = await UnixListener.listen({ sockets }, path);
    await rm(path);
    const second = await UnixListener.listen({ sockets }, path);
    await first.close();
    assert(existsSync(path));
    await second.close();
  });

  it('keeps other users away where it is told to', async () => {
    const others = { peerCredentials: () => ({ ...us, uid: us.uid + 1 }), sendDatagram: (): void => {} };
    const listener = await UnixListener.listen({ sockets: others }, join(dir, 'private'));
    await using server = new TtrpcServer({ services: [], log: silentLogger }, { sameUserOnly: true });
    server.attach(listener);
    const socket = connect({ path: listener.path });
    await new Promise((resolve) => socket.once('close', resolve));
    await listener.close();
  });
});
