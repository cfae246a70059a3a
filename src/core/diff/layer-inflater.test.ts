import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { ContainerdError } from '../../base/errors.ts';
import { MemberInflater } from '../../platform/linux/inflaters.ts';
import { isalEngine } from '../../platform/linux/isal.ts';
import { zlibEngine, zstdEngine } from '../../platform/linux/node-zlib.ts';
import type { InflateOperations } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { decompress } from './decompress.ts';
import { canInflate, LayerInflater } from './layer-inflater.ts';
import type { Compression } from './layer-media-type.ts';

const platform = await selectPlatform();
const skip = platform.name === 'linux' ? false : 'the portable twin inflates by streams only';

/** Platforms of one engine for gzip each. */
function engines(): { name: string; inflate: InflateOperations }[] {
  return [isalEngine, zlibEngine].flatMap((makeGzip) => {
    const name = makeGzip()?.name;
    const open: InflateOperations['open'] = (format, take) => {
      const engine = format === 'gzip' ? makeGzip() : zstdEngine();
      return engine === undefined ? undefined : new MemberInflater(format, engine, take);
    };
    return name === undefined ? [] : [{ name, inflate: { engine: () => name, open } }];
  });
}

interface Verdict {
  readonly bytes?: string;
  readonly code?: string;
}

async function byStreams(stream: Buffer, pieceBytes: number, compression?: Compression): Promise<Verdict> {
  const pieces = async function* (): AsyncGenerator<Buffer, void> {
    for (let at = 0; at < stream.length; at += pieceBytes) yield stream.subarray(at, at + pieceBytes);
  };
  const out: Buffer[] = [];
  try {
    for await (const chunk of decompress(pieces(), compression === undefined ? {} : { compression }))
      out.push(Buffer.from(chunk));
    return { bytes: Buffer.concat(out).toString('latin1') };
  } catch (error) {
    return { code: ContainerdError.from(error).code };
  }
}

function byEngine(
  inflate: InflateOperations,
  stream: Buffer,
  pieceBytes: number,
  compression?: Compression,
): Verdict {
  const out: Buffer[] = [];
  try {
    using inflater = new LayerInflater(inflate, compression, (bytes) => out.push(Buffer.from(bytes)));
    for (let at = 0; at < stream.length; at += pieceBytes)
      inflater.push(stream.subarray(at, at + pieceBytes));
    inflater.end();
    return { bytes: Buffer.concat(out).toString('latin1') };
  } catch (error) {
    return { code: ContainerdError.from(error).code };
  }
}

const member = fc
  .record({
    text: fc.oneof(fc.string({ maxLength: 3000 }), fc.constant('abc'.repeat(200_000))),
    level: fc.integer({ min: 0, max: 9 }),
    isZstd: fc.boolean(),
  })
  .map(({ text, level, isZstd }) => ({
    gzip: gzipSync(text, { level }),
    zstd: zstdCompressSync(text),
    isZstd,
  }));

/** Streams of one format, and what may have become of them. */
const stream = fc
  .record({
    members: fc.array(member, { minLength: 1, maxLength: 3 }),
    zeros: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 600 })),
    tail: fc.oneof(fc.constant(''), fc.string({ maxLength: 5 })),
    cut: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
    flips: fc.array(
      fc.record({ at: fc.double({ min: 0, max: 0.999, noNaN: true }), by: fc.integer({ min: 1, max: 255 }) }),
      {
        maxLength: 2,
      },
    ),
    pieceBytes: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 400_000 })),
    isKnown: fc.boolean(),
  })
  .map(({ members, zeros, tail, cut, flips, pieceBytes, isKnown }) => {
    const isZstd = members[0]?.isZstd === true;
    const whole = Buffer.concat([
      ...members.map(({ gzip, zstd }) => (isZstd ? zstd : gzip)),
      Buffer.alloc(zeros),
      Buffer.from(tail),
    ]);
    const bytes = Buffer.from(whole.subarray(0, Math.ceil(whole.length * cut)));
    for (const { at, by } of flips) if (bytes.length > 0) bytes[Math.floor(at * bytes.length)]! ^= by;
    const compression: Compression = isZstd ? 'zstd' : 'gzip';
    return { bytes, pieceBytes, ...(isKnown ? { compression } : {}) };
  });

void test('every engine gives and refuses what streams give and refuse', { skip }, async () => {
  const all = engines();
  assert.ok(all.length >= 1, 'no engine at all');
  await fc.assert(
    fc.asyncProperty(stream, async ({ bytes, pieceBytes, compression }) => {
      const expected = await byStreams(bytes, pieceBytes, compression);
      for (const { name, inflate } of all)
        assert.deepEqual(byEngine(inflate, bytes, pieceBytes, compression), expected, name);
    }),
    { numRuns: Number(process.env['GANTRY_FUZZ_RUNS'] ?? 60) },
  );
});

void test('header fields, all cuts, one byte at a time', { skip }, async () => {
  const plain = gzipSync('layer layer layer');
  const deflated = plain.subarray(10);
  const header = (flags: number, ...fields: Buffer[]): Buffer =>
    Buffer.concat([Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3]), ...fields, deflated]);
  const name = Buffer.from('name\0');
  const streams = [
    Buffer.alloc(0),
    plain,
    header(8, name),
    header(4 + 8 + 16, Buffer.from([3, 0, 1, 2, 3]), name, Buffer.from('comment\0')),
    header(1),
    header(2, Buffer.from([0, 0])),
    header(0x20),
    header(0x80),
    Buffer.from([0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 3]),
    zstdCompressSync('layer layer layer'),
  ];
  for (const { name: engine, inflate } of engines())
    for (const whole of streams)
      for (let end = 0; end <= whole.length; end += 1)
        for (const compression of [undefined, 'gzip', 'zstd'] as const)
          assert.deepEqual(
            byEngine(inflate, whole.subarray(0, end), 1, compression),
            await byStreams(whole.subarray(0, end), 1, compression),
            `${engine}, ${whole.toString('hex')} cut at ${end}, as ${compression}`,
          );
});

void test('this machine inflates in its workers', { skip }, () => {
  assert.ok(canInflate(platform.inflate));
});
