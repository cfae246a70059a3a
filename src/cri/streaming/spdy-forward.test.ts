/** Port forwarding over SPDY, with npm's spdy-transport on the other end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { deferred } from '../../base/deferred.ts';
import { failedPrecondition } from '../../base/errors.ts';
import {
  all,
  openStream,
  type SpdyPeer,
  type SpdyPeerStream,
  StreamingFixture,
} from './streaming.fixture.ts';
import type { StreamingRuntime } from './streaming-runtime.ts';

async function forward(
  peer: SpdyPeer,
  port: string,
  requestID?: string,
): Promise<{ readonly error: SpdyPeerStream; readonly data: SpdyPeerStream }> {
  const headers = { port, ...(requestID !== undefined && { requestID }) };
  const error = await openStream(peer, 'error', headers);
  error.end();
  const data = await openStream(peer, 'data', headers);
  return { error, data };
}

/** Everything comes back in upper case after its end; port 9 is closed. */
const shout: StreamingRuntime['portForward'] = async (_ctx, _request, port, { incoming, outgoing }) => {
  if (port === 9) throw failedPrecondition('nobody listens there');
  let text = `${port}:`;
  for await (const bytes of incoming) text += Buffer.from(bytes).toString().toUpperCase();
  await outgoing.write(Buffer.from(text));
};

const connect = (fixture: StreamingFixture): Promise<SpdyPeer & { socket: { destroy(): void } }> =>
  fixture.spdy(fixture.server.portForward({ podSandboxId: 'p1', port: [] }), 'portforward.k8s.io');

test('several connections at once, with request ids and without', async () => {
  await using fixture = await StreamingFixture.make({ portForward: shout });
  const peer = await connect(fixture);
  const [first, second, third] = [
    await forward(peer, '80', '0'),
    await forward(peer, '81', '1'),
    await forward(peer, '82'),
  ];
  first.data.end('a');
  second.data.end('b');
  third.data.end('c');
  const outputs = await Promise.all([first, second, third].map(({ data }) => all(data)));
  assert.deepEqual(outputs, ['80:A', '81:B', '82:C']);
});

test('a failure is told in the error stream, and the others go on', async () => {
  await using fixture = await StreamingFixture.make({ portForward: shout });
  const peer = await connect(fixture);
  const closed = await forward(peer, '9', '0');
  const told = await Promise.all([all(closed.error), all(closed.data)]);
  assert.deepEqual(told, ['error forwarding port 9 to pod p1: nobody listens there', '']);
  const open = await forward(peer, '80', '1');
  open.data.end('x');
  assert.equal(await all(open.data), '80:X');
});

test('a stream that does not say well what it is, is refused', async () => {
  await using fixture = await StreamingFixture.make({ portForward: shout });
  const peer = await connect(fixture);
  for (const port of ['', '0', '65536', '80x', '-1'])
    await assert.rejects(openStream(peer, 'error', { port, requestID: '1' }), /REFUSED_STREAM/);
  await assert.rejects(openStream(peer, 'stdin', { port: '80', requestID: '1' }), /REFUSED_STREAM/);
  await openStream(peer, 'error', { port: '80', requestID: '1' });
  await assert.rejects(openStream(peer, 'error', { port: '80', requestID: '1' }), /REFUSED_STREAM/);
  await assert.rejects(openStream(peer, 'data', { port: '81', requestID: '1' }), /REFUSED_STREAM/);
});

test('the request id of a stream that was reset is free again', async () => {
  await using fixture = await StreamingFixture.make({ portForward: shout });
  const peer = await connect(fixture);
  const given = await openStream(peer, 'error', { port: '80', requestID: '0' });
  given.abort();
  const { data } = await forward(peer, '81', '0');
  data.end('x');
  assert.equal(await all(data), '81:X');
});

test('a connection that the client resets, and one whose client leaves', async () => {
  const begun = [deferred(), deferred()];
  const ended: number[] = [];
  const both = deferred();
  const portForward: StreamingRuntime['portForward'] = async (ctx, _request, port) => {
    begun[port - 1]?.resolve();
    await once(ctx.signal, 'abort');
    ended.push(port);
    if (ended.length === 2) both.resolve();
  };
  await using fixture = await StreamingFixture.make({ portForward });
  const peer = await connect(fixture);
  const first = await forward(peer, '1', '0');
  await forward(peer, '2', '1');
  await Promise.all(begun.map(({ promise }) => promise));
  first.data.abort();
  const told = await all(first.error);
  assert.equal(told, '');
  assert.deepEqual(ended, [1]);
  peer.socket.destroy();
  await both.promise;
  assert.deepEqual(ended, [1, 2]);
});
