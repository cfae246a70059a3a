/** ttrpc: frames come out alike however the bytes come, and make the same bytes again; requests decode or are refused. */
import assert from 'node:assert/strict';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { limits } from '../../../src/base/limits.ts';
import { RequestSchema } from '../../../src/wire/gen/ttrpc/ttrpc_pb.js';
import { decodeMessage, encodeRequest, metadataOf, timeoutMsOf } from '../../../src/wire/ttrpc/codec.ts';
import {
  encodeFrame,
  FrameParser,
  frameFlags,
  frameTypes,
  type Parsed,
} from '../../../src/wire/ttrpc/frame.ts';
import { type FuzzTarget, piecesOf } from '../fuzz-target.ts';

const request = encodeRequest({
  service: 'containerd.task.v3.Task',
  method: 'State',
  payload: Buffer.from('payload'),
  timeoutMs: 1500,
  namespace: 'default',
  lease: undefined,
  headers: { traceparent: 'x' },
});

const parse = (pieces: readonly Buffer[]): { found: Parsed[]; idle: boolean } => {
  const parser = new FrameParser();
  return { found: pieces.flatMap((piece) => [...parser.push(piece)]), idle: parser.idle };
};

const frame = (data: Uint8Array, type: number, flags = 0): Buffer =>
  encodeFrame({ streamId: 1, type, flags, data });

export const ttrpcFrame: FuzzTarget = {
  name: 'ttrpc-frame',
  seeds: [
    frame(request, frameTypes.request, frameFlags.remoteClosed),
    Buffer.concat([
      frame(request, frameTypes.request, frameFlags.remoteOpen),
      frame(Buffer.alloc(300, 'x'), frameTypes.data),
      frame(Buffer.alloc(0), frameTypes.data, frameFlags.noData | frameFlags.remoteClosed),
    ]),
  ],
  hostile: [
    Buffer.from('00400001000000010100', 'hex'),
    Buffer.from('ffffffff000000010100', 'hex'),
    Buffer.concat([Buffer.from('00400000000000010100', 'hex'), Buffer.alloc(100)]),
  ],
  refusals: [],
  check(input) {
    const { found, idle } = parse([input]);
    assert.deepEqual(parse(piecesOf(input)), { found, idle });
    const frames = found.flatMap((one) => (one.kind === 'frame' ? [encodeFrame(one.frame)] : []));
    const bytes = Buffer.concat(frames);
    assert.ok(bytes.length <= input.length);
    if (!found.some(({ kind }) => kind === 'oversized')) {
      assert.ok(input.subarray(0, bytes.length).equals(bytes));
      assert.equal(idle, bytes.length === input.length);
    }
    for (const one of found)
      if (one.kind === 'oversized') assert.ok(one.lengthBytes > limits.ttrpcMessageBytes);
  },
};

export const ttrpcRequest: FuzzTarget = {
  name: 'ttrpc-request',
  seeds: [request, toBinary(RequestSchema, create(RequestSchema, { timeoutNano: -1n })), Buffer.alloc(0)],
  hostile: [
    // Groups that hold groups, unknown to the message: recursion must have an end.
    Buffer.alloc(20_000, 0x7b),
    Buffer.from('0a ffffffff0f'.replaceAll(' ', ''), 'hex'),
    Buffer.from('20ffffffffffffffffff01', 'hex'),
  ],
  words: ['containerd-namespace-ttrpc', 'timeout-nano'],
  maxBytes: 64 * 1024,
  refusals: ['Internal'],
  check(input) {
    decodeMessage(RequestSchema, input);
    const read = fromBinary(RequestSchema, new Uint8Array(input));
    const timeoutMs = timeoutMsOf(read);
    assert.ok(timeoutMs === undefined || (Number.isFinite(timeoutMs) && timeoutMs > 0));
    assert.equal(typeof (metadataOf(read, 'containerd-namespace-ttrpc') ?? ''), 'string');
    assert.deepEqual(fromBinary(RequestSchema, toBinary(RequestSchema, read)), read);
  },
};
