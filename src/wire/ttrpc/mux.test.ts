import assert from 'node:assert/strict';
import { Duplex, duplexPair } from 'node:stream';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { limits } from '../../base/limits.ts';
import { silentLogger } from '../../base/logger.ts';
import { Plugin, Runtime } from '../gen/nri/pkg/api/v1alpha1/api_pb.js';
import { serve } from '../service.ts';
import { TtrpcConnection } from './client.ts';
import { Mux } from './mux.ts';
import { encodeMux, MuxParser, muxPayloadBytes } from './mux-frame.ts';
import { TtrpcServer } from './server.ts';

/** By connection, whatever pieces they came in. */
function payloads(pieces: readonly Buffer[]): Map<number, string> {
  const parser = new MuxParser();
  const found = new Map<number, string>();
  for (const piece of pieces)
    for (const { connectionId, bytes } of parser.push(piece))
      found.set(connectionId, (found.get(connectionId) ?? '') + bytes.toString('latin1'));
  assert.ok(parser.idle);
  return found;
}

test('frames come out alike however the bytes come', () => {
  const message = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.uint8Array({ maxLength: 10_000 }));
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.integer({ min: 1, max: 5000 }), (messages, cut) => {
      const bytes = Buffer.concat(messages.map(([id, data]) => encodeMux(id, data)));
      const pieces: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += cut) pieces.push(bytes.subarray(at, at + cut));
      const wanted = new Map<number, string>();
      for (const [id, data] of messages)
        if (data.length > 0) wanted.set(id, (wanted.get(id) ?? '') + Buffer.from(data).toString('latin1'));
      assert.deepEqual(payloads(pieces), wanted);
    }),
  );
});

test('a frame is cut where the buffer of a peer ends', () => {
  const bytes = encodeMux(1, Buffer.alloc(10_000));
  assert.equal(bytes.readUInt32BE(4), 4096);
  assert.equal(bytes.readUInt32BE(8 + 4096 + 4), 10_000 - 4096);
});

test('a frame that claims more than a ttrpc frame closes everything', async () => {
  const [near, far] = duplexPair();
  const mux = new Mux(near);
  const connection = mux.open(1);
  const header = Buffer.alloc(8);
  header.writeUInt32BE(1, 0);
  header.writeUInt32BE(muxPayloadBytes + 1, 4);
  far.write(header);
  await mux.closed;
  assert.ok(connection.destroyed);
});

test('both ends call each other over one connection, with messages of any size', async () => {
  const [near, far] = duplexPair();
  const runtimeMux = new Mux(near);
  const pluginMux = new Mux(far);
  const config = 'x'.repeat(limits.ttrpcMessageBytes - 100);
  const plugin = new TtrpcServer({
    services: [serve(Plugin, { configure: async (_ctx, request) => ({ events: request.config.length }) })],
    log: silentLogger,
  });
  const runtime = new TtrpcServer({
    services: [serve(Runtime, { updateContainers: async (_ctx, { update }) => ({ failed: update }) })],
    log: silentLogger,
  });
  plugin.serveSocket(pluginMux.open(1));
  runtime.serveSocket(runtimeMux.open(2));
  const toPlugin = new TtrpcConnection(runtimeMux.open(1)).client(Plugin);
  const toRuntime = new TtrpcConnection(pluginMux.open(2)).client(Runtime);
  const update = [{ containerId: 'c'.repeat(100_000) }];
  const answers = await Promise.all([
    toPlugin.configure({ config }),
    toRuntime.updateContainers({ update }),
    toPlugin.configure({ config: 'short' }),
  ]);
  assert.equal(answers[0].events, config.length);
  assert.equal(answers[1].failed[0]?.containerId.length, 100_000);
  assert.equal(answers[2].events, 5);
  runtimeMux.destroy();
  pluginMux.destroy();
  await Promise.all([runtimeMux.closed, pluginMux.closed, plugin.shutdown(0), runtime.shutdown(0)]);
});

test('what nobody has opened is dropped, and a slow reader holds the socket back', async () => {
  const sent: Buffer[] = [];
  const trunk = new Duplex({ read: () => {}, write: (chunk: Buffer, _, done) => (sent.push(chunk), done()) });
  const mux = new Mux(trunk);
  const connection = mux.open(1);
  for (const id of [7, 1, 1, 1]) trunk.push(encodeMux(id, Buffer.alloc(100_000, id)));
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(connection.readableLength > 0 && connection.readableLength < 300_000);
  assert.ok(trunk.isPaused());
  let length = 0;
  connection.on('data', (chunk: Buffer) => {
    assert.ok(chunk.every((byte) => byte === 1));
    length += chunk.length;
    if (length === 300_000) mux.destroy();
  });
  await mux.closed;
  assert.equal(length, 300_000);
});
