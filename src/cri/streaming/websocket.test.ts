/** Exec and port-forward over WebSockets, with npm's ws on the other end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { WebSocket } from 'ws';
import { deferred } from '../../base/deferred.ts';
import { failedPrecondition } from '../../base/errors.ts';
import { until } from '../../testing/until.ts';
import { channelsOf, StreamingFixture } from './streaming.fixture.ts';
import type { StreamingRuntime } from './streaming-runtime.ts';

const opened = async (socket: WebSocket): Promise<void> => {
  await once(socket, 'open');
};

/** The first bytes of its input come back, with the size of the terminal if there is one. */
const echo: StreamingRuntime['exec'] = async (_ctx, { tty }, { stdin, stdout, stderr, resizes }) => {
  if (tty)
    for await (const { width, height } of resizes) {
      await stdout?.write(Buffer.from(`${width}x${height} `));
      break;
    }
  for await (const bytes of stdin ?? []) {
    await stdout?.write(bytes);
    await stderr?.write(Buffer.from('err'));
    return 5;
  }
  return 0;
};

const structured = (code: number): object => ({ reason: 'ExitCode', message: String(code) });

const protocols: readonly (readonly [string, boolean, boolean])[] = [
  ['v5.channel.k8s.io', false, true],
  ['v4.channel.k8s.io', false, true],
  ['v4.base64.channel.k8s.io', true, true],
  ['base64.channel.k8s.io', true, false],
  ['channel.k8s.io', false, false],
  ['', false, false],
];
for (const [protocol, base64, isJson] of protocols)
  test(`exec over ${protocol === '' ? 'no subprotocol' : protocol}`, async () => {
    await using fixture = await StreamingFixture.make({ exec: echo });
    const socket = fixture.webSocket(fixture.exec(), protocol === '' ? [] : [protocol]);
    const messages = channelsOf(socket, { base64 });
    await opened(socket);
    assert.equal(socket.protocol, protocol);
    socket.send(base64 ? `0${Buffer.from('héllo').toString('base64')}` : Buffer.from('\0héllo'));
    const { code, channels, first } = await messages;
    assert.equal(first, base64 ? '1' : '\x01');
    assert.equal(code, 1000);
    assert.equal(channels.get(1), 'héllo');
    assert.equal(channels.get(2), 'err');
    const outcome = channels.get(3) ?? '';
    if (isJson) {
      const { details } = JSON.parse(outcome) as { details: { causes: unknown[] } };
      assert.deepEqual(details.causes, [structured(5)]);
    } else assert.match(outcome, /^command terminated with non-zero exit code: .*exit code 5$/);
  });

test('the first choice of the client that is spoken here wins', async () => {
  await using fixture = await StreamingFixture.make({ exec: echo });
  const socket = fixture.webSocket(fixture.exec(), [
    'v9.channel.k8s.io',
    'channel.k8s.io',
    'v4.channel.k8s.io',
  ]);
  await opened(socket);
  assert.equal(socket.protocol, 'channel.k8s.io');
});

test('a terminal, and channel 4 for its size', async () => {
  await using fixture = await StreamingFixture.make({ exec: echo });
  const socket = fixture.webSocket(fixture.exec({ tty: true, stderr: false }));
  const messages = channelsOf(socket);
  await opened(socket);
  socket.send(Buffer.from('\x04{"Width":80,"Height":24}'));
  socket.send(Buffer.from('\0x'));
  assert.equal((await messages).channels.get(1), '80x24 x');
});

test('channel 255 closes stdin in version 5, and output goes on', async () => {
  const exec: StreamingRuntime['exec'] = async (_ctx, _request, { stdin, stdout }) => {
    for await (const bytes of stdin ?? []) await stdout?.write(bytes);
    await stdout?.write(Buffer.from(', and the end of it'));
    return 0;
  };
  await using fixture = await StreamingFixture.make({ exec });
  const socket = fixture.webSocket(fixture.exec(), ['v5.channel.k8s.io']);
  const messages = channelsOf(socket);
  await opened(socket);
  socket.send(Buffer.from('\0input'));
  socket.send(Buffer.from([255, 0]));
  const { channels } = await messages;
  assert.equal(channels.get(1), 'input, and the end of it');
  assert.equal(channels.get(3), '{"metadata":{},"status":"Success"}');
});

test('a message in parts, and a ping between them', async () => {
  await using fixture = await StreamingFixture.make({ exec: echo });
  const socket = fixture.webSocket(fixture.exec());
  const messages = channelsOf(socket);
  await opened(socket);
  const ponged = once(socket, 'pong');
  socket.send(Buffer.from('\0one '), { fin: false });
  socket.ping('still there?');
  assert.equal(String((await ponged)[0]), 'still there?');
  socket.send(Buffer.from('and two'), { fin: true });
  assert.equal((await messages).channels.get(1), 'one and two');
});

test('output waits for a client that does not read', async () => {
  const sizeBytes = 64 * 1024 * 1024;
  const block = Buffer.alloc(65_536, 'x');
  let written = 0;
  const waiting = deferred();
  const exec: StreamingRuntime['exec'] = async (_ctx, _request, { stdout }) => {
    for (; written < sizeBytes; written += block.byteLength) {
      const writing = stdout?.write(block);
      if (written > 1024 * 1024) waiting.resolve();
      await writing;
    }
    return 0;
  };
  await using fixture = await StreamingFixture.make({ exec });
  const socket = fixture.webSocket(fixture.exec());
  await opened(socket);
  socket.pause();
  await waiting.promise;
  let before = -1;
  await until('output stands still', () => {
    const still = before === written;
    before = written;
    return still;
  });
  assert.ok(written < sizeBytes, 'all was taken although nobody reads');
  const messages = channelsOf(socket);
  socket.resume();
  assert.equal((await messages).channels.get(1)?.length, sizeBytes);
});

test('the command is told by its signal when the client closes', async () => {
  const left = deferred<unknown>();
  const exec: StreamingRuntime['exec'] = async (ctx) => {
    await once(ctx.signal, 'abort');
    left.resolve(ctx.signal.reason);
    return 0;
  };
  await using fixture = await StreamingFixture.make({ exec });
  const socket = fixture.webSocket(fixture.exec());
  await opened(socket);
  socket.close();
  assert.equal(((await left.promise) as { code: string }).code, 'Canceled');
});

test('ports: a data and an error channel each, both begin with the port', async () => {
  const portForward: StreamingRuntime['portForward'] = async (
    _ctx,
    request,
    port,
    { incoming, outgoing },
  ) => {
    assert.equal(request.podSandboxId, 'p1');
    if (port === 9) throw failedPrecondition('nobody listens there');
    for await (const bytes of incoming) {
      await outgoing.write(Buffer.from(`${port} got ${Buffer.from(bytes).toString()}`));
      return;
    }
  };
  await using fixture = await StreamingFixture.make({ portForward });
  for (const base64 of [false, true]) {
    const url = fixture.server.portForward({ podSandboxId: 'p1', port: [8080, 9] });
    const socket = fixture.webSocket(url, [base64 ? 'v4.base64.channel.k8s.io' : 'v4.channel.k8s.io']);
    const messages = channelsOf(socket, { base64 });
    await opened(socket);
    socket.send(base64 ? `0${Buffer.from('hi').toString('base64')}` : Buffer.from('\0hi'));
    const { channels } = await messages;
    assert.equal(channels.get(0), '\x90\x1f8080 got hi'.replace('\x90', '\ufffd'));
    assert.equal(channels.get(1), '\ufffd\x1f');
    assert.equal(channels.get(2), '\x09\0');
    assert.equal(channels.get(3), '\x09\0error forwarding port 9 to pod p1: nobody listens there');
  }
});
