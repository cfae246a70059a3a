/** Requests, URLs and upgrades: what is refused, and with what. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { limits } from '../../base/limits.ts';
import { StreamingFixture } from './streaming.fixture.ts';

const spdy = (protocol: string): Record<string, string> => ({
  connection: 'Upgrade',
  upgrade: 'SPDY/3.1',
  'x-stream-protocol-version': protocol,
});

const webSocket = (changes: Record<string, string> = {}): Record<string, string> => ({
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': Buffer.alloc(16, 1).toString('base64'),
  ...changes,
});

test('requests that make no sense have no URL', async () => {
  await using fixture = await StreamingFixture.make();
  const refused: readonly (readonly [() => string, RegExp])[] = [
    [() => fixture.exec({ containerId: '' }), /missing required container_id/],
    [() => fixture.exec({ tty: true }), /tty and stderr cannot both be true/],
    [() => fixture.exec({ stdin: false, stdout: false, stderr: false }), /one of stdin, stdout, or stderr/],
    [() => fixture.attach({ tty: true }), /tty and stderr cannot both be true/],
    [() => fixture.attach({ stdin: false, stdout: false, stderr: false }), /one of stdin, stdout, or stderr/],
    [() => fixture.server.portForward({ podSandboxId: '', port: [] }), /missing required pod_sandbox_id/],
    [() => fixture.server.portForward({ podSandboxId: 'p', port: [0] }), /invalid port 0/],
    [() => fixture.server.portForward({ podSandboxId: 'p', port: [65_536] }), /invalid port 65536/],
  ];
  for (const [ask, message] of refused) assert.throws(ask, { code: 'InvalidArgument', message });
});

test('URLs name the server, the call and a token', async () => {
  await using fixture = await StreamingFixture.make();
  assert.match(fixture.exec(), /^http:\/\/127\.0\.0\.1:[0-9]+\/exec\/[A-Za-z0-9_-]{8}$/);
  assert.match(fixture.attach(), /\/attach\/[A-Za-z0-9_-]{8}$/);
  const url = fixture.server.portForward({ podSandboxId: 'p', port: [80] });
  assert.match(url, /\/portforward\/[A-Za-z0-9_-]{8}$/);
});

test('a URL is good once, and only for its own call', async () => {
  await using fixture = await StreamingFixture.make({ exec: async () => 0 });
  const url = fixture.exec();
  await fixture.upgrade(url, spdy('v4.channel.k8s.io'));
  assert.equal((await fixture.ask(url, spdy('v4.channel.k8s.io'))).status, 404);
  assert.equal(
    (await fixture.ask(fixture.exec().replace('exec', 'attach'), spdy('v4.channel.k8s.io'))).status,
    404,
  );
});

test('GET upgrades as POST does', async () => {
  await using fixture = await StreamingFixture.make({ exec: async () => 0 });
  const { headers } = await fixture.upgrade(
    fixture.exec(),
    spdy('v3.channel.k8s.io, v2.channel.k8s.io'),
    'GET',
  );
  assert.equal(headers['x-stream-protocol-version'], 'v3.channel.k8s.io');
  assert.equal(headers.upgrade, 'SPDY/3.1');
});

const refusals: readonly (readonly [string, Record<string, string>, string, number])[] = [
  ['no upgrade', {}, 'POST', 400],
  ['no upgrade of a kind', { connection: 'Upgrade', upgrade: 'h2c' }, 'POST', 400],
  ['no stream protocol', { connection: 'Upgrade', upgrade: 'SPDY/3.1' }, 'POST', 400],
  ['an unknown stream protocol', spdy('v9.channel.k8s.io'), 'POST', 403],
  ['another method', spdy('v4.channel.k8s.io'), 'DELETE', 405],
  ['a WebSocket by POST', webSocket(), 'POST', 405],
  ['an old WebSocket', webSocket({ 'sec-websocket-version': '8' }), 'GET', 426],
  ['a WebSocket without a key', webSocket({ 'sec-websocket-key': 'short' }), 'GET', 400],
  ['an unknown subprotocol', webSocket({ 'sec-websocket-protocol': 'v9.channel.k8s.io' }), 'GET', 403],
];
for (const [what, headers, method, status] of refusals)
  test(`${what}: ${status}`, async () => {
    await using fixture = await StreamingFixture.make();
    const answer = await fixture.ask(fixture.exec(), headers, method);
    assert.equal(answer.status, status, answer.body);
    assert.notEqual(answer.body, '');
  });

test('the protocols that are spoken are told to who asks for others', async () => {
  await using fixture = await StreamingFixture.make();
  const { headers } = await fixture.ask(fixture.exec(), spdy('v9.channel.k8s.io'));
  assert.match(String(headers['x-accepted-stream-protocol-versions']), /^v4\.channel\.k8s\.io, v3/);
});

test('what is at no URL of ours', async () => {
  await using fixture = await StreamingFixture.make();
  const { origin } = new URL(fixture.exec());
  for (const path of [
    '/',
    '/exec',
    '/exec/short',
    '/exec/AAAAAAAA',
    '/exec/AAAAAAAA/more',
    '/other/AAAAAAAA',
  ])
    assert.equal((await fixture.ask(`${origin}${path}`, spdy('v4.channel.k8s.io'))).status, 404, path);
});

test('headers without an end are cut off', async () => {
  await using fixture = await StreamingFixture.make();
  const long = 'x'.repeat(limits.httpServerHeaderBytes);
  assert.equal((await fixture.ask(fixture.exec(), { ...spdy('v4.channel.k8s.io'), long })).status, 431);
});

test('a session on which nothing moves is cut', async () => {
  await using fixture = await StreamingFixture.make({}, { idleMs: 50 });
  const { socket } = await fixture.spdyUpgrade(fixture.exec());
  socket.resume();
  await once(socket, 'close');
});

test('sessions have a limit', async () => {
  await using fixture = await StreamingFixture.make();
  const count = limits.criStreamSessions;
  for (let open = 0; open < count; open += 1) await fixture.spdyUpgrade(fixture.exec());
  const url = fixture.exec();
  const { status, headers } = await fixture.ask(url, spdy('v4.channel.k8s.io'));
  assert.deepEqual([status, headers['retry-after']], [429, '60']);
});

test('a server that closes cuts its sessions and waits for their calls', async () => {
  let ended = false;
  const fixture = await StreamingFixture.make({
    attach: async (ctx) => {
      await once(ctx.signal, 'abort');
      ended = true;
    },
  });
  const socket = fixture.webSocket(fixture.attach());
  await once(socket, 'message');
  await fixture[Symbol.asyncDispose]();
  assert.ok(ended);
});
