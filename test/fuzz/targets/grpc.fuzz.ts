/** gRPC: messages are cut alike however the bytes come, and headers that make no sense count as none. */
import assert from 'node:assert/strict';
import { gunzipSync, gzipSync } from 'node:zlib';
import { ContainerdError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { formatTraceParent, parseTraceParent } from '../../../src/daemon/tracing/trace-context.ts';
import { callContext } from '../../../src/wire/call-context.ts';
import { readHeaders, readTimeoutMs } from '../../../src/wire/grpc/codec.ts';
import { unpack } from '../../../src/wire/grpc/compression.ts';
import { frameOf, MessageCutter, PackedMessage } from '../../../src/wire/grpc/message-frames.ts';
import { type FuzzTarget, piecesOf, textOf } from '../fuzz-target.ts';

const maxBytes = 1024;

interface Cut {
  readonly frames: Buffer;
  readonly isInside: boolean;
  readonly error: unknown;
}

function cut(pieces: readonly Buffer[]): Cut {
  const cutter = new MessageCutter(maxBytes);
  const frames: Buffer[] = [];
  let error: unknown;
  try {
    for (const piece of pieces) frames.push(...cutter.push(piece).map(frameOf));
  } catch (thrown) {
    error = thrown;
  }
  return { frames: Buffer.concat(frames), isInside: cutter.isInside, error };
}

export const grpcFrame: FuzzTarget = {
  name: 'grpc-frame',
  seeds: [
    frameOf(Buffer.from('message')),
    Buffer.concat([frameOf(Buffer.alloc(0)), frameOf(Buffer.alloc(600, 'x')), frameOf(Buffer.from('y'))]),
  ],
  hostile: [
    Buffer.from('00ffffffff', 'hex'),
    Buffer.from('0000000401', 'hex'),
    Buffer.from('0100000001ff', 'hex'),
  ],
  refusals: ['ResourceExhausted', 'Unimplemented'],
  check(input) {
    const whole = cut([input]);
    const inPieces = cut(piecesOf(input));
    assert.deepEqual(ContainerdError.from(inPieces.error), ContainerdError.from(whole.error));
    if (whole.error !== undefined) throw whole.error;
    assert.deepEqual(inPieces, whole);
    assert.ok(input.subarray(0, whole.frames.length).equals(whole.frames));
    assert.equal(whole.isInside, whole.frames.length < input.length);
  },
};

export const grpcPacked: FuzzTarget = {
  name: 'grpc-packed',
  seeds: [gzipSync('message'), gzipSync(Buffer.alloc(maxBytes)), gzipSync('', { level: 0 })],
  hostile: [
    gzipSync(Buffer.alloc(9 * 1024 * 1024)),
    Buffer.concat([gzipSync('one'), gzipSync('two')]),
    Buffer.concat([gzipSync('one'), Buffer.alloc(20)]),
    Buffer.from('1f8b08', 'hex'),
  ],
  maxBytes: 16 * 1024,
  refusals: ['Internal', 'ResourceExhausted'],
  async check(input) {
    const message = await unpack(new PackedMessage(input, 1), { encoding: 'gzip', maxBytes });
    assert.ok(message.byteLength <= maxBytes);
    assert.ok(gunzipSync(input).equals(message));
  },
};

export const grpcHeaders: FuzzTarget = {
  name: 'grpc-headers',
  seeds: [
    `default\nlease-1\n5S\n00-${'a1'.repeat(16)}-${'b2'.repeat(8)}-01\nk=v`,
    'moby, other\n\n99999999H\n\n',
    '\n\n1n\n\n',
  ],
  hostile: ['__proto__\n__proto__\n1__proto__\n', `a\nb\n1S\nff-${'a'.repeat(32)}-${'b'.repeat(16)}-00\n`],
  words: ['\n', 'S', 'm', 'n', '-', '00-', ',', 'a'.repeat(32)],
  refusals: ['InvalidArgument'],
  check(input) {
    const [namespace = '', lease = '', timeout = '', parent = '', state = ''] = textOf(input).split('\n');
    const headers = { 'containerd-namespace': namespace, 'containerd-lease': lease, 'grpc-timeout': timeout };
    const timeoutMs = readTimeoutMs(headers);
    assert.ok(timeoutMs === undefined || (Number.isFinite(timeoutMs) && timeoutMs >= 0));
    const span = parseTraceParent(parent, state);
    if (span !== undefined)
      assert.deepEqual(parseTraceParent(formatTraceParent(span), span.traceState), span);
    const ctx = callContext(silentLogger, 'M', readHeaders(headers), new AbortController().signal);
    if (ctx.namespace !== undefined) assert.match(ctx.namespace, /^[A-Za-z0-9][A-Za-z0-9._-]*$/);
  },
};
