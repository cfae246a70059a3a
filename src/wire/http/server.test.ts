/** The small HTTP server: whatever is sent to it, it answers or cuts, and goes on. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { asyncProperty, assert as check, constantFrom, oneof, string, tuple, uint8Array } from 'fast-check';
import { limits } from '../../base/limits.ts';
import { silentLogger as log } from '../../base/logger.ts';
import { until } from '../../testing/until.ts';
import { TcpListener } from '../tcp-listener.ts';
import { HttpServer } from './server.ts';

describe('the HTTP server', () => {
  let server: HttpServer;
  let listener: TcpListener;
  before(async () => {
    const pages = new Map([['/page', () => ({ contentType: 'text/plain', body: 'here' })]]);
    server = new HttpServer({ log, pages });
    listener = await TcpListener.listen({ host: '127.0.0.1', port: 0 });
    server.attach(listener);
  });
  after(async () => {
    await listener[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  async function open(): Promise<Socket> {
    const socket = connect(listener.port, '127.0.0.1');
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('connect', resolve);
    socket.once('error', reject);
    await promise;
    return socket;
  }

  /** What comes back for these bytes until the server closes. */
  async function exchange(bytes: string | Uint8Array): Promise<string> {
    const socket = await open();
    socket.end(bytes);
    return (await buffer(socket).catch(() => Buffer.alloc(0))).toString('latin1');
  }

  const get = (target: string): Promise<string> =>
    exchange(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);

  const targets: readonly (readonly [string, number])[] = [
    ['/page', 200],
    ['/page?a=1', 200],
    ['/absent', 404],
    ['//', 404],
    ['//[', 404],
    ['/../page', 200],
    ['http://anywhere/page', 200],
    ['http://[/page', 400],
    ['*', 400],
  ];
  for (const [target, status] of targets)
    test(`GET ${target}: ${status}`, async () => {
      assert.match(await get(target), new RegExp(`^HTTP/1\\.1 ${status} `));
    });

  test('no bytes end the server', async () => {
    const target = string({ unit: 'binary-ascii', maxLength: 40 });
    const lines = tuple(constantFrom('GET', 'POST', 'CONNECT', 'PRI'), target).map(
      ([method, text]) => `${method} ${text} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    await check(
      asyncProperty(oneof(lines, uint8Array({ maxLength: 64 })), async (bytes) => {
        await exchange(bytes);
      }),
      { numRuns: 200 },
    );
    assert.match(await get('/page'), /^HTTP\/1\.1 200 /);
  });

  test('connections past the limit are refused, and taken again when others have gone', async () => {
    const held = await Promise.all(Array.from({ length: limits.httpServerConnections }, open));
    assert.equal(await get('/page'), '');
    for (const socket of held) socket.destroy();
    await until('a connection is taken again', async () => (await get('/page')).startsWith('HTTP/1.1 200'));
  });
});

test('a connection that asks nothing in time is cut', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  await using server = new HttpServer({ log, pages: new Map() });
  await using listener = await TcpListener.listen({ host: '127.0.0.1', port: 0 });
  const accepted = Promise.withResolvers<void>();
  server.attach({
    onConnection: (receive) =>
      listener.onConnection((connection) => {
        receive(connection);
        accepted.resolve();
      }),
  });
  const socket = connect(listener.port, '127.0.0.1');
  const closed = Promise.withResolvers<void>();
  socket.once('close', () => closed.resolve());
  socket.on('error', () => {});
  socket.resume().write('GET / HTTP/1.1\r\n');
  await accepted.promise;
  t.mock.timers.tick(limits.httpServerRequestMs);
  await closed.promise;
});
