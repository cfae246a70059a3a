import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { limits } from '../../base/limits.ts';
import { encodeFrame, type Frame, FrameParser, headerBytes, type Parsed } from './frame.ts';

const frames = fc.array(
  fc.record({
    streamId: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    type: fc.integer({ min: 0, max: 255 }),
    flags: fc.integer({ min: 0, max: 255 }),
    data: fc.uint8Array({ maxLength: 300 }),
  }),
  { maxLength: 20 },
);

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const parts: Buffer[] = [];
  let offset = 0;
  for (const size of sizes) {
    parts.push(bytes.subarray(offset, offset + size));
    offset += size;
  }
  parts.push(bytes.subarray(offset));
  return parts;
}

const plain = (parsed: Parsed): unknown =>
  parsed.kind === 'frame' ? { ...parsed.frame, data: [...parsed.frame.data] } : parsed;

describe('ttrpc frames', () => {
  it('has the header that the protocol fixes', () => {
    const frame: Frame = { streamId: 0x01020304, type: 2, flags: 5, data: Buffer.from('abc') };
    assert.equal(encodeFrame(frame).toString('hex'), '00000003010203040205616263');
  });

  it('reads back what was written, however it is cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 40 }), (list, sizes) => {
        const parser = new FrameParser();
        const bytes = Buffer.concat(list.map((frame) => encodeFrame(frame)));
        const got = cut(bytes, sizes).flatMap((part) => [...parser.push(part)]);
        assert.deepEqual(
          got.map(plain),
          list.map((frame) => ({ ...frame, data: [...frame.data] })),
        );
        assert(parser.idle);
      }),
    );
  });

  it('takes any bytes without failing, and no more than one frame at a time', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 30 }), (chunks) => {
        const parser = new FrameParser();
        let found = 0;
        for (const chunk of chunks) for (const _ of parser.push(chunk)) found += 1;
        const total = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
        assert(found * headerBytes <= total);
      }),
    );
  });

  it('takes the largest frame, skips a larger one, and goes on behind it', () => {
    const parser = new FrameParser();
    const largest = encodeFrame({
      streamId: 1,
      type: 1,
      flags: 0,
      data: Buffer.alloc(limits.ttrpcMessageBytes, 1),
    });
    const lengthBytes = limits.ttrpcMessageBytes + 1;
    const header = Buffer.alloc(headerBytes);
    header.writeUInt32BE(lengthBytes, 0);
    header.writeUInt32BE(3, 4);
    const next = encodeFrame({ streamId: 5, type: 1, flags: 0, data: Buffer.from('x') });
    const got = [largest, header, Buffer.alloc(lengthBytes), next].flatMap((part) => [...parser.push(part)]);
    assert.equal(got.length, 3);
    assert.equal(got[0]?.kind, 'frame');
    assert.deepEqual(got[1], { kind: 'oversized', streamId: 3, lengthBytes });
    assert.equal(got[2]?.kind, 'frame');
    assert.throws(() => encodeFrame({ streamId: 1, type: 1, flags: 0, data: Buffer.alloc(lengthBytes) }));
  });
});
