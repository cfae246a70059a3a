/**
 * Applies one layer, given as a stream, to mounts: inflated in libuv's pool, hashed and written by a worker. The
 * stream may come from the content store or straight from the network.
 *
 * A layer that fails half way leaves what it has written: the caller throws the snapshot away.
 */

import { ContainerdError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { withTempMount } from '../../platform/temp-mount.ts';
import type { AppliedLayer } from './apply-protocol.ts';
import { applyTarget } from './apply-target.ts';
import { ApplyWorkers } from './apply-workers.ts';
import { ChunkRingWriter, makeRingMemory } from './chunk-ring.ts';
import { OverlayLowers } from './copy-up.ts';
import { decompress } from './decompress.ts';
import type { ApplyOptions } from './differ.ts';
import type { Compression } from './layer-media-type.ts';
import type { LowerLayers } from './lower-tree.ts';
import type { WhiteoutStyle } from './whiteouts.ts';

export interface LayerSource {
  /** The compressed bytes; must end soon when `signal` fires. Chunks may be reused once the next is asked for. */
  readonly open: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
  /** Absent: the first bytes decide. */
  readonly compression?: Compression;
}

interface Place {
  readonly root: string;
  readonly whiteouts: WhiteoutStyle;
  readonly lowers?: LowerLayers;
}

export class LayerApplier implements AsyncDisposable {
  readonly #platform: Platform;
  readonly #workers: ApplyWorkers;
  readonly #tempRoot: string;
  /** Confinement is for root; without it the writer's own path walk is the only wall. */
  readonly #isConfined: boolean;

  constructor(
    { platform, log }: { platform: Platform; log: Logger },
    { tempRoot }: { readonly tempRoot: string },
  ) {
    this.#platform = platform;
    this.#workers = new ApplyWorkers({ platform, log });
    this.#tempRoot = tempRoot;
    this.#isConfined = platform.name === 'linux' && process.geteuid?.() === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#workers[Symbol.asyncDispose]();
  }

  /**
   * Errors: InvalidArgument (malformed or escaping layer, with the entry's name), ResourceExhausted (disk),
   * FailedPrecondition (read-only mounts), Canceled, and what the source throws.
   */
  async apply(
    source: LayerSource,
    mounts: readonly Mount[],
    options: ApplyOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<AppliedLayer> {
    const target = applyTarget(mounts);
    if (target.kind === 'directory')
      return this.#unpack(source, { root: target.root, whiteouts: 'remove' }, options);
    if (target.kind === 'mounts')
      return withTempMount(this.#platform, target.mounts, this.#tempRoot, (root) =>
        this.#unpack(source, { root, whiteouts: 'remove' }, options),
      );
    const lowers =
      target.lowers.length === 0 ? {} : { lowers: new OverlayLowers(this.#platform.files, target) };
    return this.#unpack(source, { root: target.upper, whiteouts: 'overlay', ...lowers }, options);
  }

  async #unpack(
    source: LayerSource,
    { root, whiteouts, lowers }: Place,
    { signal, onProgress, syncFileSystem }: ApplyOptions & { readonly signal?: AbortSignal },
  ): Promise<AppliedLayer> {
    const stop = new AbortController();
    const stopped = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
    const memory = makeRingMemory();
    const ring = new ChunkRingWriter(memory);
    const job = { root, isConfined: this.#isConfined, whiteouts, ring: memory };
    await using worker = await this.#workers.start(job, lowers);
    const failed = failureOf(worker.result, stopped);
    const pumping = pump(source, ring, { failed, signal: stopped, ...(onProgress ? { onProgress } : {}) });
    try {
      await Promise.race([failed, pumping]);
      const { diffId, sizeBytes } = await Promise.race([failed, worker.result]);
      if (syncFileSystem === true) await this.#platform.files.syncFileSystem(root);
      return { diffId, sizeBytes };
    } finally {
      stop.abort();
      ring.abandon();
      await pumping.catch(() => {});
    }
  }
}

/** Rejects when the worker fails or the caller gives up; never resolves. */
function failureOf(result: Promise<AppliedLayer>, signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(ContainerdError.from(signal.reason));
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  result.catch(reject);
  promise.catch(() => {});
  return promise;
}

interface PumpOptions {
  readonly failed: Promise<never>;
  readonly signal: AbortSignal;
  readonly onProgress?: (bytes: number) => void;
}

async function pump(
  { open, compression }: LayerSource,
  ring: ChunkRingWriter,
  { failed, signal, onProgress }: PumpOptions,
): Promise<void> {
  let writtenBytes = 0;
  const how = compression === undefined ? { signal } : { signal, compression };
  for await (const chunk of decompress(open(signal), how)) {
    await ring.write(chunk, failed);
    writtenBytes += chunk.length;
    onProgress?.(writtenBytes);
  }
  ring.end();
}
