/** Bytes that no client should send: they end their own connection, and the server goes on. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createDeflate, constants as zlib } from 'node:zlib';
import {
  array,
  asyncProperty,
  assert as check,
  constantFrom,
  dictionary,
  integer,
  oneof,
  property,
  record,
  string,
  tuple,
  uint8Array,
} from 'fast-check';
import { hasCode } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { parseResizes } from './resizes.ts';
import { spdyDictionary } from './spdy/dictionary.ts';
import { type SpdyFrame, SpdyFrameReader } from './spdy/frame.ts';
import { formatHeaders, HeaderInflater, HeaderStorer } from './spdy/header-block.ts';
import { StreamingFixture } from './streaming.fixture.ts';
import { WebSocketFrameReader } from './websocket/frame.ts';

/** As a client would write it; `lengthBytes` may lie. */
function control(type: number, body: Uint8Array, { flags = 0, lengthBytes = body.byteLength } = {}): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE((0x8003_0000 + type) >>> 0, 0);
  head.writeUInt32BE((flags * 0x100_0000 + lengthBytes) >>> 0, 4);
  return Buffer.concat([head, body]);
}

const words = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32BE(value >>> 0, index * 4));
  return bytes;
};

function data(
  streamId: number,
  bytes: Uint8Array,
  { fin = false, lengthBytes = bytes.byteLength } = {},
): Buffer {
  return Buffer.concat([words(streamId, (fin ? 0x100_0000 : 0) + lengthBytes), bytes]);
}

const open = (streamId: number, block: Uint8Array, flags = 0): Buffer =>
  control(1, Buffer.concat([words(streamId, 0), Buffer.alloc(2), block]), { flags });

const typed = (type: string): Map<string, string> => new Map([['streamtype', type]]);

async function deflated(bytes: Uint8Array): Promise<Buffer> {
  const deflate = createDeflate({ dictionary: spdyDictionary, flush: zlib.Z_SYNC_FLUSH });
  const chunks: Buffer[] = [];
  deflate.on('data', (chunk: Buffer) => chunks.push(chunk));
  const { promise, resolve } = Promise.withResolvers<void>();
  deflate.write(bytes, () => resolve());
  await promise;
  deflate.destroy();
  return Buffer.concat(chunks);
}

/** What comes until the server cuts the connection. */
async function untilCut(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once('close', () => resolve());
  await promise;
  return Buffer.concat(chunks);
}

const goneAway = words(0x8003_0007, 8).toString('latin1');

describe('hostile clients', () => {
  let fixture: StreamingFixture;
  before(async () => {
    fixture = await StreamingFixture.make({
      exec: async (_ctx, _request, { stdin, stdout }) => {
        for await (const bytes of stdin ?? []) await stdout?.write(bytes);
        return 0;
      },
      portForward: async (ctx) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        ctx.signal.addEventListener('abort', () => resolve());
        await promise;
      },
    });
  });
  after(() => fixture[Symbol.asyncDispose]());

  /** Another session of the same server does its work. */
  async function stillServes(): Promise<void> {
    const socket = fixture.webSocket(fixture.exec({ stdin: false }));
    const { promise, resolve } = Promise.withResolvers<number>();
    socket.once('close', resolve);
    assert.equal(await promise, 1000);
  }

  async function spdySocket(): Promise<Socket> {
    const { socket } = await fixture.spdyUpgrade(fixture.exec({ stderr: false }));
    return socket;
  }

  const attacks: readonly (readonly [string, () => Uint8Array | Promise<Uint8Array>])[] = [
    ['another version', () => Buffer.concat([Buffer.from([0x80, 2, 0, 4]), words(4, 0)])],
    ['a control frame too long', () => control(1, Buffer.alloc(0), { lengthBytes: 0xff_ffff })],
    ['a control frame cut short', () => control(9, Buffer.alloc(2))],
    ['settings that count more than there are', () => control(4, words(0xffff_ffff))],
    ['a header block that is not zlib', () => open(1, Buffer.alloc(40, 0xee))],
    ['a header block that unpacks to too much', async () => open(1, await deflated(Buffer.alloc(2_000_000)))],
    ['headers cut short', () => open(1, storedBlock(words(5, 10)))],
    ['headers that count for ever', () => open(1, storedBlock(words(0xffff_ffff)))],
    ['a name longer than the block', () => open(1, storedBlock(words(1, 0x7fff_ffff)))],
    ['stream 0', () => open(0, new HeaderStorer().write(typed('error')))],
    ['an even stream', () => open(2, new HeaderStorer().write(typed('error')))],
    ['a reply', () => control(2, words(1))],
    ['data for a stream that is not there', () => data(7, Buffer.from('x'))],
    [
      'a stream that goes backwards',
      () => {
        const headers = new HeaderStorer();
        return Buffer.concat([
          open(3, headers.write(typed('error'))),
          open(1, headers.write(typed('stdin'))),
        ]);
      },
    ],
    [
      'data after the end',
      () => {
        const block = new HeaderStorer().write(typed('stdin'));
        return Buffer.concat([
          open(1, block),
          data(1, Buffer.from('x'), { fin: true }),
          data(1, Buffer.from('y')),
        ]);
      },
    ],
    [
      'more than its window, from a client that keeps windows',
      () => {
        const block = new HeaderStorer().write(typed('stdin'));
        const windows = control(4, words(1, 7, 65_536));
        return Buffer.concat([windows, open(1, block), data(1, Buffer.alloc(1), { lengthBytes: 65_537 })]);
      },
    ],
    ['a window above 2^31', () => control(9, words(0, 0x7fff_ffff))],
  ];
  for (const [what, bytes] of attacks)
    test(`SPDY: ${what}`, async () => {
      const socket = await spdySocket();
      const cut = untilCut(socket);
      socket.write(await bytes());
      assert.ok((await cut).toString('latin1').includes(goneAway), 'the client was not told');
      await stillServes();
    });

  test('SPDY: streams without end are refused', async () => {
    const url = fixture.server.portForward({ podSandboxId: 'p', port: [] });
    const { socket } = await fixture.spdyUpgrade(url, 'portforward.k8s.io');
    const headers = new HeaderStorer();
    const frames: Buffer[] = [];
    for (let id = 1; id <= limits.spdyStreams * 2 + 1; id += 2) {
      const fields = { streamtype: 'error', port: '80', requestid: String(id) };
      frames.push(open(id, headers.write(new Map(Object.entries(fields)))));
    }
    const refusal = Buffer.concat([words(0x8003_0003, 8), words(limits.spdyStreams * 2 + 1, 3)]);
    const { promise, resolve } = Promise.withResolvers<void>();
    let seen = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      if (seen.includes(refusal)) resolve();
    });
    socket.write(Buffer.concat(frames));
    await promise;
    socket.destroy();
    await stillServes();
  });

  test('SPDY: a client that keeps no windows sends more than one, and all of it arrives', async () => {
    const socket = await spdySocket();
    const headers = new HeaderStorer();
    const sizeBytes = 512 * 1024;
    const frames = [open(1, headers.write(typed('error'))), open(3, headers.write(typed('stdin')))];
    frames.push(
      open(5, headers.write(typed('stdout'))),
      data(3, Buffer.alloc(sizeBytes, 'x'), { fin: true }),
    );
    const { promise, resolve } = Promise.withResolvers<void>();
    let received = 0;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.filter((byte) => byte === 0x78).byteLength;
      if (received >= sizeBytes) resolve();
    });
    socket.write(Buffer.concat(frames));
    await promise;
    socket.destroy();
  });

  const mask = Buffer.alloc(4);
  const frame = (first: number, length: readonly number[], payload: Uint8Array = Buffer.alloc(0)): Buffer =>
    Buffer.concat([Buffer.from([first, ...length]), mask, payload]);
  const mistakes: readonly (readonly [string, Uint8Array, number])[] = [
    ['not masked', Buffer.from([0x82, 1, 0]), 1002],
    ['an extension', frame(0xc2, [0x80]), 1002],
    ['an unknown opcode', frame(0x83, [0x80]), 1002],
    ['a long ping', frame(0x89, [0xfe, 0, 126]), 1002],
    ['a ping in parts', frame(0x09, [0x80]), 1002],
    ['a part of nothing', frame(0x80, [0x80]), 1002],
    ['a message within another', Buffer.concat([frame(0x02, [0x80]), frame(0x82, [0x80])]), 1002],
    ['2^63 bytes', frame(0x82, [0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1009],
    ['more than a message may have', frame(0x82, [0xff, 0, 0, 0, 0, 0, 0x10, 0, 1]), 1009],
    [
      'parts without end',
      Buffer.concat([
        frame(0x02, [0x80]),
        ...Array.from({ length: limits.criStreamMessageParts }, () => frame(0, [0x80])),
      ]),
      1009,
    ],
  ];
  for (const [what, bytes, code] of mistakes)
    test(`WebSocket: ${what}: ${code}`, async () => {
      const key = { 'sec-websocket-version': '13', 'sec-websocket-key': Buffer.alloc(16).toString('base64') };
      const headers = { connection: 'Upgrade', upgrade: 'websocket', ...key };
      const { socket } = await fixture.upgrade(fixture.exec(), headers, 'GET');
      const cut = untilCut(socket);
      socket.write(bytes);
      const close = Buffer.from([0x88, 2, code >> 8, code & 0xff]);
      assert.ok((await cut).includes(close), 'the client was not told');
      await stillServes();
    });

  const junk = oneof(
    uint8Array({ maxLength: 200 }),
    tuple(integer({ min: 0, max: 12 }), uint8Array({ maxLength: 60 })).map(([type, body]) =>
      control(type, body),
    ),
    tuple(constantFrom(1, 3, 5), uint8Array({ maxLength: 60 })).map(([id, bytes]) => data(id, bytes)),
    constantFrom('error', 'stdin', 'stdout').map((type) => open(1, new HeaderStorer().write(typed(type)))),
  );
  test('SPDY: whatever is sent, the connection ends and the next one works', async () => {
    await check(
      asyncProperty(array(junk, { maxLength: 6 }), async (pieces) => {
        const socket = await spdySocket();
        const cut = untilCut(socket);
        socket.end(Buffer.concat(pieces));
        await cut;
      }),
      { numRuns: 60 },
    );
    await stillServes();
  });
});

/** A header block with any bytes in it. */
function storedBlock(bytes: Uint8Array): Buffer {
  const empty = new HeaderStorer().write(new Map());
  const head = Buffer.alloc(5);
  head.writeUInt16LE(bytes.byteLength, 1);
  head.writeUInt16LE(~bytes.byteLength & 0xffff, 3);
  return Buffer.concat([empty.subarray(0, 6), head, bytes, Buffer.from([0, 0, 0, 0xff, 0xff])]);
}

/** The same bytes, cut at these places. */
function* cutAt(bytes: Uint8Array, places: readonly number[]): Generator<Uint8Array> {
  const sorted = [0, ...places.map((place) => place % (bytes.byteLength + 1)), bytes.byteLength];
  sorted.sort((a, b) => a - b);
  for (let index = 1; index < sorted.length; index += 1)
    yield bytes.subarray(sorted[index - 1], sorted[index]);
}

const places = array(integer({ min: 0, max: 10_000 }), { maxLength: 8 });

test('frames of SPDY are the same wherever the bytes are cut', () => {
  const frames = array(
    record({ id: integer({ min: 1, max: 9 }), bytes: uint8Array({ maxLength: 100 }) }).map(({ id, bytes }) =>
      bytes.byteLength % 2 === 0 ? data(id, bytes, { fin: true }) : control(6, words(id)),
    ),
    { maxLength: 8 },
  );
  const read = (chunks: Iterable<Uint8Array>): string[] => {
    const reader = new SpdyFrameReader();
    const told = [...chunks].flatMap((chunk) => [...reader.read(chunk)]).map(describeFrame);
    return told.join('').split('\n');
  };
  check(
    property(frames, places, (list, where) => {
      const bytes = Buffer.concat(list);
      assert.deepEqual(read(cutAt(bytes, where)), read([bytes]));
    }),
  );
});

const describeFrame = (frame: SpdyFrame): string =>
  frame.kind === 'data'
    ? `${frame.frameBytes === undefined ? '' : `data ${frame.streamId} ${frame.frameBytes} `}${Buffer.from(frame.bytes).toString('hex')}${frame.fin ? ' fin\n' : ''}`
    : `${JSON.stringify(frame)}\n`;

test('readers of frames throw nothing but what they say', () => {
  for (const reader of [() => new SpdyFrameReader(), () => new WebSocketFrameReader()])
    check(
      property(uint8Array({ maxLength: 300 }), places, (bytes, where) => {
        const one = reader();
        try {
          for (const chunk of cutAt(bytes, where)) for (const _frame of one.read(chunk));
        } catch (error) {
          assert.ok(hasCode(error, 'InvalidArgument') || hasCode(error, 'OutOfRange'), String(error));
        }
      }),
      { numRuns: 300 },
    );
});

test('headers come through, stored or deflated, and junk is InvalidArgument', async () => {
  const headers = dictionary(
    string({ unit: 'grapheme-ascii' }).map((name) => name.toLowerCase()),
    string(),
  );
  await check(
    asyncProperty(array(headers, { maxLength: 3 }), async (list) => {
      using inflater = new HeaderInflater();
      const storer = new HeaderStorer();
      for (const fields of list) {
        const expected = new Map(Object.entries(fields).map(([name, value]) => [name, value.toWellFormed()]));
        assert.deepEqual(await inflater.read(storer.write(expected)), expected);
      }
    }),
    { numRuns: 30 },
  );
  await check(
    asyncProperty(uint8Array({ maxLength: 100 }), async (bytes) => {
      using inflater = new HeaderInflater();
      await inflater.read(bytes).catch((error: unknown) => assert.ok(hasCode(error, 'InvalidArgument')));
    }),
    { numRuns: 50 },
  );
  using inflater = new HeaderInflater();
  const known = new Map([['streamtype', 'stdin']]);
  assert.deepEqual(await inflater.read(await deflated(formatHeaders(known))), known);
});

test('sizes of terminals, wherever they are cut, and between junk', async () => {
  async function* chunksOf(text: string, where: readonly number[]): AsyncGenerator<Uint8Array> {
    yield* cutAt(Buffer.from(text), where);
  }
  const text =
    '{"Width":80,"Height":24}\n{"Width":-1,"Height":2}{}[{"Width":1.5,"Height":2}{"Width":132,"Height":50}';
  await check(
    asyncProperty(places, async (where) => {
      let last: unknown;
      for await (const size of parseResizes(chunksOf(text, where))) last = size;
      assert.deepEqual(last, { width: 132, height: 50 });
    }),
    { numRuns: 50 },
  );
  const endless = `{${'x'.repeat(limits.criStreamResizeBytes * 2)}`;
  for await (const _size of parseResizes(chunksOf(endless, [10]))) assert.fail('no size is there');
});
