/**
 * Inflates a stream of chunks: gzip (RFC 1952, several members), zstd (RFC 8878, several and skippable frames) or
 * nothing at all. The work is done in libuv's pool, so this belongs to the main thread.
 *
 * At most a few chunks are in memory; how much may come out is the caller's bound, who sees each chunk. Zeros after
 * the last member are padding (tape blocks); anything else after it is an error, where containerd's answer depends
 * on which decompressor it found.
 */
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { deferred } from '../../base/deferred.ts';
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import type { Compression } from './layer-media-type.ts';

type Engine = ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>;

const outputChunkBytes = 256 * 1024;

/** What the first bytes say; undefined when there are too few of them to tell. */
export function compressionOf(start: Uint8Array): Compression {
  const word = start.length >= 4 ? Buffer.from(start.subarray(0, 4)).readUInt32LE() : 0;
  if (start.length >= 3 && start[0] === 0x1f && start[1] === 0x8b && start[2] === 8) return 'gzip';
  // A zstd frame, or a skippable one, which zstd:chunked may put first.
  if (word === 0xfd2fb528 || word >>> 4 === 0x184d2a5) return 'zstd';
  return 'none';
}

/**
 * Yields the inflated bytes; a chunk is valid until the next is asked for. Without `compression` the first bytes
 * decide. Errors: InvalidArgument for damaged or cut input, what `source` throws, Canceled.
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  { compression, signal }: { compression?: Compression; signal?: AbortSignal } = {},
): AsyncGenerator<Uint8Array, void> {
  const { detected, chunks } = await detect(source, compression);
  if (detected === 'none') yield* chunks;
  else yield* inflate(chunks, detected, signal);
}

/** Looks at the first bytes without losing them. */
async function detect(
  source: AsyncIterable<Uint8Array>,
  compression: Compression | undefined,
): Promise<{ detected: Compression; chunks: AsyncIterable<Uint8Array> }> {
  if (compression !== undefined) return { detected: compression, chunks: source };
  const iterator = source[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let haveBytes = 0;
  while (haveBytes < 4) {
    const next = await iterator.next();
    if (next.done === true) break;
    first.push(Buffer.from(next.value));
    haveBytes += next.value.length;
  }
  const start = Buffer.concat(first);
  const rest: AsyncIterable<Uint8Array> = { [Symbol.asyncIterator]: () => iterator };
  return { detected: compressionOf(start), chunks: prepend(start, rest) };
}

async function* prepend(
  start: Uint8Array,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  if (start.length > 0) yield start;
  yield* rest;
}

async function* inflate(
  source: AsyncIterable<Uint8Array>,
  compression: 'gzip' | 'zstd',
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void> {
  const engine: Engine =
    compression === 'gzip'
      ? createGunzip({ chunkSize: outputChunkBytes })
      : createZstdDecompress({ chunkSize: outputChunkBytes });
  const feeder = new Feeder(engine, source);
  const abort = (): void => void engine.destroy(ContainerdError.from(signal?.reason));
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted === true) abort();
  const feeding = feeder.run();
  try {
    for await (const chunk of engine) yield chunk as Buffer;
    feeder.stop('complete');
    await feeding;
  } catch (error) {
    throw asContainerdError(error, compression);
  } finally {
    signal?.removeEventListener('abort', abort);
    feeder.stop('abandoned');
    engine.destroy();
  }
}

/** Gives the engine its input at the pace it takes it, and judges what is left when the engine is done. */
class Feeder {
  readonly #engine: Engine;
  readonly #source: AsyncIterable<Uint8Array>;
  readonly #stopped = deferred();
  #outcome: 'running' | 'complete' | 'abandoned' = 'running';
  #fedBytes = 0;

  constructor(engine: Engine, source: AsyncIterable<Uint8Array>) {
    this.#engine = engine;
    this.#source = source;
  }

  /** No more input is wanted: the engine saw the end of its format, or nobody listens any more. */
  stop(outcome: 'complete' | 'abandoned'): void {
    if (this.#outcome === 'running') this.#outcome = outcome;
    this.#stopped.resolve();
  }

  async run(): Promise<void> {
    try {
      for await (const chunk of this.#source) {
        // Iterating an engine to its end destroys it, a little before we are told how it ended.
        if (this.#engine.destroyed) await this.#stopped.promise;
        if (this.#outcome === 'abandoned') return;
        if (this.#outcome === 'complete') checkPadding(chunk);
        else await this.#write(chunk);
      }
      this.#engine.end();
    } catch (error) {
      this.#engine.destroy(error instanceof Error ? error : new Error(String(error)));
      // Whoever iterates the engine sees it; once the engine has ended, only this promise can tell.
      if (this.#outcome === 'complete') throw error;
    }
  }

  async #write(chunk: Uint8Array): Promise<void> {
    const taken = deferred<boolean>();
    // The source may use its chunk again and zlib reads it later: the callback says when it is done with it. It
    // does not come for a chunk in which the format ended.
    this.#engine.write(chunk, (error) => taken.resolve(!error));
    const isTaken = await Promise.race([taken.promise, this.#stopped.promise.then(() => undefined)]);
    const usedBytes = this.#engine.bytesWritten - this.#fedBytes;
    this.#fedBytes += chunk.length;
    if (isTaken === true || this.#outcome === 'complete')
      checkPadding(chunk.subarray(Math.max(0, usedBytes)));
  }
}

function checkPadding(bytes: Uint8Array): void {
  if (!bytes.every((byte) => byte === 0))
    throw invalidArgument('data after the end of the compressed stream');
}

function asContainerdError(error: unknown, compression: string): ContainerdError {
  if (error instanceof ContainerdError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (error instanceof Error && (/^(Z_|ZSTD_|ERR_ZSTD|ERR_TRAILING)/.test(code) || code.startsWith('ERR__')))
    return invalidArgument(`${compression} stream is damaged or incomplete: ${error.message}`, error);
  return ContainerdError.from(error);
}
