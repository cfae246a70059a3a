import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { hasCode } from '../../base/errors.ts';
import { decompress } from './decompress.ts';
import type { Compression } from './layer-media-type.ts';

async function* pieces(bytes: Buffer, sizeBytes: number): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < bytes.length; at += sizeBytes) yield bytes.subarray(at, at + sizeBytes);
}

async function inflated(bytes: Buffer, sizeBytes = 7, compression?: Compression): Promise<string> {
  const out: Buffer[] = [];
  const options = compression === undefined ? {} : { compression };
  for await (const chunk of decompress(pieces(bytes, sizeBytes), options)) out.push(Buffer.from(chunk));
  return Buffer.concat(out).toString('latin1');
}

const isInvalid = (error: unknown): boolean => hasCode(error, 'InvalidArgument');
const skippable = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.from('other')]);

void test('gzip members and zstd frames are joined, skippable frames skipped, whatever the chunks', async () => {
  const text = fc.string({ maxLength: 2000 });
  await fc.assert(
    fc.asyncProperty(text, text, fc.integer({ min: 1, max: 3000 }), async (a, b, sizeBytes) => {
      const expected = Buffer.from(a + b).toString('latin1');
      const gzip = Buffer.concat([gzipSync(a), gzipSync(b)]);
      assert.equal(await inflated(gzip, sizeBytes), expected);
      const zstd = Buffer.concat([skippable, zstdCompressSync(a), skippable, zstdCompressSync(b), skippable]);
      assert.equal(await inflated(zstd, sizeBytes), expected);
    }),
    { numRuns: 60 },
  );
});

void test('plain bytes pass, short and empty ones too', async () => {
  for (const text of ['', 'a', 'abc', 'abcdefgh'.repeat(100)])
    assert.equal(await inflated(Buffer.from(text)), text);
});

void test('zeros may follow the last gzip member, other bytes may not', async () => {
  const gzip = gzipSync('layer');
  for (const sizeBytes of [1, 7, gzip.length, 4096]) {
    assert.equal(await inflated(Buffer.concat([gzip, Buffer.alloc(600)]), sizeBytes), 'layer');
    for (const tail of ['garbage', '\0\0garbage', '\x1f'])
      await assert.rejects(
        inflated(Buffer.concat([gzip, Buffer.from(tail, 'latin1')]), sizeBytes),
        isInvalid,
        `${sizeBytes} ${tail}`,
      );
  }
});

void test('every cut of a stream is an error', async () => {
  for (const whole of [gzipSync('layer layer'), zstdCompressSync('layer layer')]) {
    const compression: Compression = whole[0] === 0x1f ? 'gzip' : 'zstd';
    for (let end = 1; end < whole.length; end += 1)
      await assert.rejects(
        inflated(whole.subarray(0, end), 5, compression),
        isInvalid,
        `${compression} cut at ${end}`,
      );
  }
});

void test('damage is an error by InvalidArgument, and the source error comes through', async () => {
  await assert.rejects(inflated(Buffer.from('no gzip at all'), 3, 'gzip'), isInvalid);
  await assert.rejects(inflated(Buffer.from('no zstd at all'), 3, 'zstd'), isInvalid);
  const broken = async function* (): AsyncGenerator<Buffer, void> {
    yield gzipSync('x'.repeat(1000)).subarray(0, 12);
    throw new RangeError('disk on fire');
  };
  const read = async (): Promise<void> => {
    for await (const chunk of decompress(broken())) assert.ok(chunk.length >= 0);
  };
  await assert.rejects(read(), /disk on fire/);
});

void test('an abort ends the iteration with Canceled', async () => {
  const controller = new AbortController();
  const endless = async function* (): AsyncGenerator<Buffer, void> {
    const gzip = gzipSync('x'.repeat(100_000));
    for (;;) yield gzip;
  };
  const read = async (): Promise<void> => {
    for await (const chunk of decompress(endless(), { signal: controller.signal }))
      if (chunk.length > 0) controller.abort();
  };
  await assert.rejects(read(), (error) => hasCode(error, 'Canceled'));
});

void test('an iteration left early stops the engine and the source', async () => {
  let released = false;
  const endless = async function* (): AsyncGenerator<Buffer, void> {
    try {
      const gzip = gzipSync('x'.repeat(100_000));
      for (;;) yield gzip;
    } finally {
      released = true;
    }
  };
  for await (const chunk of decompress(endless())) if (chunk.length > 0) break;
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(released);
});
