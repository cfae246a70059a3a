/**
 * Inflating on this thread, piece by piece: gzip by ISA-L where it is installed and by Node's zlib elsewhere, zstd by
 * Node's. An engine is used only when it inflates known streams right here and now: these libraries are called by
 * the layout of their structures.
 *
 * Several members follow each other; after the last there may be zeros (tape blocks) and nothing else. The
 * judgement is that of Node's streams, chunk by chunk alike; the tests hold them against each other.
 */
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { invalidArgument } from '../../base/errors.ts';
import type { CompressedFormat, InflateOperations, Inflater } from '../platform.ts';
import { isalEngine } from './isal.ts';
import type { MemberEngine } from './member-engine.ts';
import { zlibEngine, zstdEngine } from './node-zlib.ts';

const bufferBytes = 256 * 1024;
const frameMagicBytes = 4;

type MakeEngine = () => MemberEngine | undefined;

export class MemberInflater implements Inflater {
  readonly #format: CompressedFormat;
  readonly #engine: MemberEngine;
  readonly #take: (bytes: Uint8Array) => void;
  // Outside of V8's heap, so that their addresses stay.
  readonly #input = Buffer.allocUnsafeSlow(bufferBytes);
  readonly #output = Buffer.allocUnsafeSlow(bufferBytes);
  #state: 'between' | 'inside' | 'padding' = 'between';
  /** Members that were begun, and the input of the last. */
  #members = 0;
  #memberBytes = 0;

  constructor(format: CompressedFormat, engine: MemberEngine, take: (bytes: Uint8Array) => void) {
    this.#format = format;
    this.#engine = engine;
    this.#take = take;
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += bufferBytes) {
      const part = bytes.subarray(at, at + bufferBytes);
      this.#input.set(part);
      this.#pushPart(part.length);
    }
  }

  end(): void {
    // Node's streams let the beginning of another frame pass while it is shorter than what tells it is one.
    const isHardlyBegun = this.#format === 'zstd' && this.#members > 1 && this.#memberBytes < frameMagicBytes;
    if (this.#members === 0 || (this.#state === 'inside' && !isHardlyBegun))
      throw invalidArgument(`${this.#format} stream is incomplete`);
  }

  [Symbol.dispose](): void {
    this.#engine[Symbol.dispose]();
  }

  #pushPart(end: number): void {
    for (let at = 0; at < end; ) {
      if (this.#state === 'padding') {
        checkPadding(this.#input.subarray(at, end));
        return;
      }
      if (this.#state === 'between') {
        if (this.#members > 0 && this.#input[at] === 0) {
          this.#state = 'padding';
          continue;
        }
        this.#engine.begin();
        this.#members += 1;
        this.#memberBytes = 0;
        this.#state = 'inside';
      }
      at = this.#inflate(at, end);
    }
  }

  /** Up to the end of the member or of the input, whatever comes first. */
  #inflate(start: number, end: number): number {
    for (let at = start; ; ) {
      const { consumedBytes, producedBytes, isFinished } = this.#engine.step(
        this.#input,
        at,
        end,
        this.#output,
      );
      at += consumedBytes;
      this.#memberBytes += consumedBytes;
      if (producedBytes > 0) this.#take(this.#output.subarray(0, producedBytes));
      if (isFinished) {
        this.#state = 'between';
        return at;
      }
      // A full output may hide that there is more of it, with no input left.
      if (producedBytes === bufferBytes) continue;
      if (at === end) return at;
      if (consumedBytes === 0 && producedBytes === 0)
        throw invalidArgument(`${this.#format} stream is damaged: it does not go on`);
    }
  }
}

function checkPadding(bytes: Buffer): void {
  if (!bytes.every((byte) => byte === 0))
    throw invalidArgument('data after the end of the compressed stream');
}

/** Larger than one buffer, with matches that reach back, in two members and odd pieces. */
function inflatesRight(
  format: CompressedFormat,
  compress: (bytes: Buffer) => Buffer,
  make: MakeEngine,
): boolean {
  const known = Buffer.from(Array.from({ length: 3000 }, (_, index) => `${index * index} `).join(''));
  const stream = Buffer.concat([compress(known), compress(known.subarray(0, 999))]);
  const inflated: Buffer[] = [];
  try {
    const engine = make();
    if (engine === undefined) return false;
    using inflater = new MemberInflater(format, engine, (bytes) => inflated.push(Buffer.from(bytes)));
    for (let at = 0; at < stream.length; at += 1013) inflater.push(stream.subarray(at, at + 1013));
    inflater.end();
  } catch {
    return false;
  }
  return Buffer.concat(inflated).equals(Buffer.concat([known, known.subarray(0, 999)]));
}

interface Chosen {
  readonly name: string;
  readonly make: MakeEngine;
}

export class LinuxInflaters implements InflateOperations {
  /** Chosen at the first use: most threads never inflate. */
  #engines: ReadonlyMap<CompressedFormat, Chosen> | undefined;

  engine(format: CompressedFormat): string | undefined {
    return this.#choose().get(format)?.name;
  }

  open(format: CompressedFormat, take: (bytes: Uint8Array) => void): Inflater | undefined {
    const engine = this.#choose().get(format)?.make();
    return engine === undefined ? undefined : new MemberInflater(format, engine, take);
  }

  #choose(): ReadonlyMap<CompressedFormat, Chosen> {
    if (this.#engines !== undefined) return this.#engines;
    const engines = new Map<CompressedFormat, Chosen>();
    const consider = (
      format: CompressedFormat,
      compress: (bytes: Buffer) => Buffer,
      make: MakeEngine,
    ): void => {
      if (engines.has(format) || !inflatesRight(format, compress, make)) return;
      using engine = make();
      if (engine !== undefined) engines.set(format, { name: engine.name, make });
    };
    consider('gzip', (bytes) => gzipSync(bytes), isalEngine);
    consider('gzip', (bytes) => gzipSync(bytes), zlibEngine);
    consider('zstd', (bytes) => zstdCompressSync(bytes), zstdEngine);
    this.#engines = engines;
    return engines;
  }
}
