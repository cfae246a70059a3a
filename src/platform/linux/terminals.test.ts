import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as koffi from 'koffi';
import { hasCode } from '../../base/errors.ts';
import { descriptorsOf } from '../../testing/held.ts';
import { LinuxSockets, receiveDescriptor } from './sockets.ts';
import { LinuxTerminals } from './terminals.ts';

const descriptorOf = (connection: Socket): number =>
  (connection as unknown as { _handle: { fd: number } })._handle.fd;

/** Lowers RLIMIT_NOFILE below what is open, until disposed of. */
function noMoreDescriptors(): Disposable {
  const library = koffi.load('libc.so.6');
  const call = (name: string, limit: Buffer): void => {
    assert.equal(library.func(`int ${name}(int, void *)`)(7, limit), 0);
  };
  const before = Buffer.alloc(16);
  call('getrlimit', before);
  const lowered = Buffer.from(before);
  lowered.writeBigUInt64LE(3n, 0);
  call('setrlimit', lowered);
  return { [Symbol.dispose]: () => call('setrlimit', before) };
}

describe('terminals of Linux', () => {
  const terminals = new LinuxTerminals();
  const folder = mkdtempSync(join(tmpdir(), 'gantry-terminals-'));
  after(() => rmSync(folder, { recursive: true }));

  /** Connects and sends descriptors of a new process, as runtimes do; python has the call in its library. */
  function send(path: string, descriptors: string): Promise<void> {
    const script = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
m, w = os.openpty()
socket.send_fds(s, [b'/dev/ptmx'], ${descriptors})
`;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    execFile('python3', ['-c', script, path], (error) => (error === null ? resolve() : reject(error)));
    return promise;
  }

  test('what is written to one side of a pty is read on the other, raw or cooked', () => {
    const { masterFd, workerFd } = terminals.open();
    try {
      const bytes = Buffer.alloc(64);
      const read = (fd: number): string => bytes.toString('utf8', 0, readSync(fd, bytes));
      writeSync(workerFd, 'a\n');
      assert.equal(read(masterFd), 'a\r\n');
      {
        using _raw = terminals.makeRaw(workerFd);
        writeSync(workerFd, 'b\n');
        assert.equal(read(masterFd), 'b\n');
        writeSync(masterFd, 'c');
        assert.equal(read(workerFd), 'c');
      }
      writeSync(workerFd, 'd\n');
      assert.equal(read(masterFd), 'd\r\n');
    } finally {
      closeSync(masterFd);
      closeSync(workerFd);
    }
  });

  test('both sides agree about the size', () => {
    const { masterFd, workerFd } = terminals.open();
    terminals.resize(masterFd, { columns: 132, rows: 43 });
    assert.deepEqual(terminals.size(workerFd), { columns: 132, rows: 43 });
    closeSync(masterFd);
    closeSync(workerFd);
    assert.throws(() => terminals.size(-1));
  });

  test('a console socket hands over the descriptor that a peer sends', async () => {
    const path = join(folder, 'console');
    const before = descriptorsOf().length;
    {
      await using socket = await terminals.consoleSocket(path);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      const received = socket.receive({ signal: AbortSignal.timeout(10_000) });
      await send(path, '[m]');
      const master = await received;
      assert.ok(fstatSync(master).isCharacterDevice());
      terminals.resize(master, { columns: 80, rows: 25 });
      closeSync(master);
    }
    assert.throws(() => statSync(path), { code: 'ENOENT' });
    assert.equal(descriptorsOf().length, before);
  });

  test('peers that send two descriptors or none leave nothing open', async () => {
    const path = join(folder, 'console');
    await using socket = await terminals.consoleSocket(path);
    const before = descriptorsOf().length;
    const two = socket.receive({ signal: AbortSignal.timeout(10_000) });
    await Promise.all([
      assert.rejects(two, (error) => hasCode(error, 'FailedPrecondition')),
      send(path, '[m, w]'),
    ]);
    const none = socket.receive({ signal: AbortSignal.timeout(10_000) });
    const rejected = assert.rejects(none, (error) => hasCode(error, 'Unavailable'));
    const peer = connect(path);
    const closed = new Promise((resolve) => peer.once('close', resolve));
    peer.end();
    await rejected;
    peer.destroy();
    await closed;
    assert.equal(descriptorsOf().length, before);
  });

  test('a descriptor that there is no room for is an exhausted resource', async () => {
    const path = join(folder, 'full');
    const server = createServer({ pauseOnConnect: true });
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await send(path, '[m]');
    const connection = await accepted;
    const fd = descriptorOf(connection);
    const before = descriptorsOf().length;
    {
      using _none = noMoreDescriptors();
      assert.throws(
        () => receiveDescriptor(fd),
        (error) => hasCode(error, 'ResourceExhausted'),
      );
    }
    assert.equal(descriptorsOf().length, before);
    connection.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  test('waiting ends by the signal and when the socket is closed', async () => {
    const socket = await terminals.consoleSocket(join(folder, 'console'));
    await assert.rejects(socket.receive({ signal: AbortSignal.timeout(5) }), (error) =>
      hasCode(error, 'DeadlineExceeded'),
    );
    const waiting = assert.rejects(socket.receive({ signal: AbortSignal.timeout(10_000) }), (error) =>
      hasCode(error, 'Canceled'),
    );
    await socket[Symbol.asyncDispose]();
    await waiting;
    await socket[Symbol.asyncDispose]();
  });

  test('a place that is taken or too long is refused', async () => {
    const path = join(folder, 'console');
    await using _socket = await terminals.consoleSocket(path);
    await assert.rejects(terminals.consoleSocket(path), (error) => hasCode(error, 'AlreadyExists'));
    await assert.rejects(terminals.consoleSocket(join(folder, 'x'.repeat(108))), (error) =>
      hasCode(error, 'InvalidArgument'),
    );
  });

  test('the peer of a socket is known by the kernel', async () => {
    const path = join(folder, 'peer');
    const server = createServer();
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const client = connect(path);
    const connection = await accepted;
    assert.deepEqual(new LinuxSockets().peerCredentials(descriptorOf(connection)), {
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    client.destroy();
    connection.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
});
