/**
 * Framing of gzip and zstd: by streams and on the thread of a worker the same bytes come out, or the same refusal.
 * What inflates without end is left after a while, as a consumer with a bound would.
 */
import assert from 'node:assert/strict';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { ContainerdError, type ErrorCode, resourceExhausted } from '../../../src/base/errors.ts';
import { decompress } from '../../../src/core/diff/decompress.ts';
import { canInflate, LayerInflater } from '../../../src/core/diff/layer-inflater.ts';
import { selectPlatform } from '../../../src/platform/select.ts';
import { type FuzzTarget, piecesOf } from '../fuzz-target.ts';

const { inflate } = await selectPlatform();
const maxInflatedBytes = 8 * 1024 * 1024;
const enough: ErrorCode = 'ResourceExhausted';

interface Verdict {
  readonly bytes: Buffer;
  readonly error?: ContainerdError;
}

/** Collects up to the bound. */
class Sink {
  readonly parts: Buffer[] = [];
  #sizeBytes = 0;

  take(bytes: Uint8Array): void {
    this.#sizeBytes += bytes.length;
    if (this.#sizeBytes > maxInflatedBytes) throw resourceExhausted('as much as this consumer takes');
    this.parts.push(Buffer.from(bytes));
  }
}

function verdictOf(sink: Sink, thrown?: unknown): Verdict {
  if (thrown === undefined) return { bytes: Buffer.concat(sink.parts) };
  if (!(thrown instanceof ContainerdError)) throw thrown;
  return { bytes: Buffer.alloc(0), error: thrown };
}

async function byStreams(pieces: readonly Buffer[]): Promise<Verdict> {
  const sink = new Sink();
  const source = (async function* (): AsyncGenerator<Buffer, void> {
    yield* pieces;
  })();
  try {
    for await (const chunk of decompress(source)) sink.take(chunk);
    return verdictOf(sink);
  } catch (error) {
    return verdictOf(sink, error);
  }
}

function onThisThread(pieces: readonly Buffer[]): Verdict {
  const sink = new Sink();
  try {
    using inflater = new LayerInflater(inflate, undefined, (bytes) => sink.take(bytes));
    for (const piece of pieces) inflater.push(piece);
    inflater.end();
    return verdictOf(sink);
  } catch (error) {
    return verdictOf(sink, error);
  }
}

async function check(input: Buffer): Promise<void> {
  const verdict = await byStreams(piecesOf(input));
  if (canInflate(inflate))
    for (const pieces of [[input], piecesOf(input)]) {
      const other = onThisThread(pieces);
      const codes = [verdict.error?.code, other.error?.code];
      // Damage behind the bound is seen by whoever inflates a little further at once.
      if (codes.includes(enough))
        assert.ok(!codes.includes(undefined), `refused by one alone: ${codes.join()}`);
      else assert.equal(codes[1], codes[0]);
      assert.ok(other.bytes.equals(verdict.bytes), 'other bytes on this thread');
    }
  // Enough is enough by this target's own bound.
  if (verdict.error !== undefined && verdict.error.code !== enough) throw verdict.error;
}

const layer = 'layer '.repeat(50);
const refusals = ['InvalidArgument'] as const;

export const gzip: FuzzTarget = {
  name: 'gzip',
  seeds: [
    gzipSync(layer),
    gzipSync(layer, { level: 0 }),
    Buffer.concat([gzipSync('one'), gzipSync(''), gzipSync('two'), Buffer.alloc(20)]),
    // A name, a comment and extra bytes in the header.
    Buffer.concat([
      Buffer.from('1f8b081c000000000003', 'hex'),
      Buffer.from('\x02\0abname\0comment\0', 'latin1'),
      gzipSync(layer).subarray(10),
    ]),
  ],
  hostile: [
    gzipSync(Buffer.alloc(9 * 1024 * 1024)),
    Buffer.from('1f8b08', 'hex'),
    Buffer.from('1f8b08ff', 'hex'),
  ],
  maxBytes: 16 * 1024,
  refusals,
  check,
};

const skippable = Buffer.from('\x50\x2a\x4d\x18\x05\0\0\0other', 'latin1');

export const zstd: FuzzTarget = {
  name: 'zstd',
  seeds: [
    zstdCompressSync(layer),
    zstdCompressSync(Buffer.alloc(300_000)),
    Buffer.concat([skippable, zstdCompressSync('one'), skippable, zstdCompressSync('two'), skippable]),
  ],
  hostile: [
    zstdCompressSync(Buffer.alloc(9 * 1024 * 1024)),
    Buffer.from('28b52ffd', 'hex'),
    // A window of 2 GiB and more.
    Buffer.from('28b52ffd00a8010000', 'hex'),
    Buffer.from('502a4d18ffffffff00', 'hex'),
  ],
  refusals,
  check,
};
