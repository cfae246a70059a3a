/**
 * The zlib and zstd that are part of Node, called without Node's streams, which work in libuv's pool only: a worker
 * thread that inflates for itself needs them synchronously and piece by piece. Node exports their functions for
 * addons; where it does not, there is no engine and Node's streams are used instead.
 *
 * `z_stream` as of every zlib 1.x on 64 bits; `ZSTD_inBuffer` and `ZSTD_outBuffer` are pointer, size, position.
 */
import * as koffi from 'koffi';
import { invalidArgument, resourceExhausted } from '../../base/errors.ts';
import { addressOf } from './libc.ts';
import type { MemberEngine, MemberStep } from './member-engine.ts';

const streamBytes = 112;
const nextIn = 0;
const availableIn = 8;
const nextOut = 24;
const availableOut = 32;
/** 32 KiB window, gzip only. */
const gzipWindow = 15 + 16;
const Z_OK = 0;
const Z_STREAM_END = 1;
const Z_MEM_ERROR = -4;
const Z_BUF_ERROR = -5;

interface Zlib {
  readonly version: () => string;
  readonly init: (stream: Buffer, windowBits: number, version: string, streamBytes: number) => number;
  readonly inflate: (stream: Buffer, flush: number) => number;
  readonly reset: (stream: Buffer) => number;
  readonly end: (stream: Buffer) => number;
}

class ZlibEngine implements MemberEngine {
  readonly name = 'zlib';
  readonly #zlib: Zlib;
  readonly #stream = Buffer.alloc(streamBytes);

  constructor(zlib: Zlib) {
    this.#zlib = zlib;
    if (zlib.init(this.#stream, gzipWindow, zlib.version(), streamBytes) !== Z_OK)
      throw resourceExhausted('zlib has no memory');
  }

  begin(): void {
    this.#zlib.reset(this.#stream);
  }

  step(input: Buffer, at: number, end: number, output: Buffer): MemberStep {
    const stream = this.#stream;
    stream.writeBigUInt64LE(addressOf(input) + BigInt(at), nextIn);
    stream.writeUInt32LE(end - at, availableIn);
    stream.writeBigUInt64LE(addressOf(output), nextOut);
    stream.writeUInt32LE(output.length, availableOut);
    const result = this.#zlib.inflate(stream, 0);
    if (result === Z_MEM_ERROR) throw resourceExhausted('zlib has no memory');
    if (result !== Z_OK && result !== Z_STREAM_END && result !== Z_BUF_ERROR)
      throw invalidArgument(`gzip stream is damaged (zlib ${result})`);
    return {
      consumedBytes: end - at - stream.readUInt32LE(availableIn),
      producedBytes: output.length - stream.readUInt32LE(availableOut),
      isFinished: result === Z_STREAM_END,
    };
  }

  [Symbol.dispose](): void {
    this.#zlib.end(this.#stream);
  }
}

interface Zstd {
  readonly create: () => bigint | number;
  readonly free: (stream: bigint | number) => number;
  readonly init: (stream: bigint | number) => number;
  readonly decompress: (stream: bigint | number, output: Buffer, input: Buffer) => number | bigint;
  readonly isError: (code: number | bigint) => number;
  readonly errorName: (code: number | bigint) => string;
}

class ZstdEngine implements MemberEngine {
  readonly name = 'zstd';
  readonly #zstd: Zstd;
  readonly #stream: bigint | number;
  readonly #in = Buffer.alloc(24);
  readonly #out = Buffer.alloc(24);

  constructor(zstd: Zstd) {
    this.#zstd = zstd;
    this.#stream = zstd.create();
    if (Number(this.#stream) === 0) throw resourceExhausted('zstd has no memory');
  }

  begin(): void {
    this.#zstd.init(this.#stream);
  }

  step(input: Buffer, at: number, end: number, output: Buffer): MemberStep {
    fill(this.#in, addressOf(input) + BigInt(at), end - at);
    fill(this.#out, addressOf(output), output.length);
    const result = this.#zstd.decompress(this.#stream, this.#out, this.#in);
    if (this.#zstd.isError(result) !== 0)
      throw invalidArgument(`zstd stream is damaged: ${this.#zstd.errorName(result)}`);
    return {
      consumedBytes: Number(this.#in.readBigUInt64LE(16)),
      producedBytes: Number(this.#out.readBigUInt64LE(16)),
      isFinished: Number(result) === 0,
    };
  }

  [Symbol.dispose](): void {
    this.#zstd.free(this.#stream);
  }
}

function fill(buffer: Buffer, address: bigint, sizeBytes: number): void {
  buffer.writeBigUInt64LE(address, 0);
  buffer.writeBigUInt64LE(BigInt(sizeBytes), 8);
  buffer.writeBigUInt64LE(0n, 16);
}

/** Loaded once and kept: a library that koffi lets go of may not come again. */
const loaded = loadNode();

function loadNode(): { readonly zlib?: Zlib; readonly zstd?: Zstd } {
  try {
    const node = koffi.load(null);
    const zlib: Zlib = {
      version: node.func('const char *zlibVersion()'),
      init: node.func('int inflateInit2_(void *, int, const char *, int)'),
      inflate: node.func('int inflate(void *, int)'),
      reset: node.func('int inflateReset(void *)'),
      end: node.func('int inflateEnd(void *)'),
    };
    const zstd: Zstd = {
      create: node.func('uintptr_t ZSTD_createDStream()'),
      free: node.func('size_t ZSTD_freeDStream(uintptr_t)'),
      init: node.func('size_t ZSTD_initDStream(uintptr_t)'),
      decompress: node.func('size_t ZSTD_decompressStream(uintptr_t, void *, void *)'),
      isError: node.func('unsigned int ZSTD_isError(size_t)'),
      errorName: node.func('const char *ZSTD_getErrorName(size_t)'),
    };
    return { zlib, zstd };
  } catch {
    return {};
  }
}

/** Undefined where Node does not export its zlib. Errors: ResourceExhausted. */
export const zlibEngine = (): MemberEngine | undefined => loaded.zlib && new ZlibEngine(loaded.zlib);

/** Undefined where Node does not export its zstd. Errors: ResourceExhausted. */
export const zstdEngine = (): MemberEngine | undefined => loaded.zstd && new ZstdEngine(loaded.zstd);
