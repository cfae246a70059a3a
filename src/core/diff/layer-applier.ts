/**
 * Applies one layer to mounts: inflated, hashed and written by a worker. The layer comes from a file, whole or still
 * growing, or as a stream; where the platform cannot inflate in a worker, libuv's pool does it and the worker gets the
 * tar.
 *
 * A layer that fails half way leaves what it has written: the caller throws the snapshot away.
 */
import { createHash } from 'node:crypto';
import { type Digest, digestAlgorithm, digestHex } from '../../base/digest.ts';
import { ContainerdError, canceled, dataLoss } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { withTempMount } from '../../platform/temp-mount.ts';
import { takeAfter } from '../snapshots/snapshot-directories.ts';
import type { AppliedLayer, ApplyInput, ApplyJob } from './apply-protocol.ts';
import { applyTarget } from './apply-target.ts';
import { ApplyWorkers } from './apply-workers.ts';
import { ChunkRingWriter, makeRingMemory } from './chunk-ring.ts';
import { OverlayLowers } from './copy-up.ts';
import { decompress } from './decompress.ts';
import type { ApplyOptions } from './differ.ts';
import type { LayerFeed } from './layer-feed.ts';
import { canInflate } from './layer-inflater.ts';
import type { Compression } from './layer-media-type.ts';
import type { WhiteoutStyle } from './whiteouts.ts';

/** The compressed bytes as a stream, or in a file, which only an applier that `takesFiles` takes. */
export type LayerSource = LayerKind &
  (
    | {
        /** Must end soon when `signal` fires. Chunks may be reused once the next is asked for. */
        readonly open: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
      }
    | { readonly feed: LayerFeed }
  );

interface LayerKind {
  /** Absent: the first bytes decide. */
  readonly compression?: Compression;
  /** What the bytes must have; not looked at when absent. */
  readonly digest?: Digest;
}

type SignalledOptions = ApplyOptions & { readonly signal?: AbortSignal };

interface Place {
  readonly root: string;
  readonly whiteouts: WhiteoutStyle;
  /** Directories below, the uppermost first. */
  readonly lowers?: () => Promise<readonly string[]>;
}

/** What a worker is given to read, and what is to be done meanwhile and afterwards. */
interface Supply extends AsyncDisposable {
  readonly input: ApplyInput;
  readonly job: Pick<ApplyJob, 'compression' | 'inputAlgorithm'>;
  /** Ends when the worker has all there is. */
  pump(failed: Promise<never>): Promise<void>;
  /** The worker may stop waiting for more. */
  abandon(): void;
}

export class LayerApplier implements AsyncDisposable {
  /** Whether a layer may be given as a file. */
  readonly takesFiles: boolean;
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
    this.takesFiles = canInflate(platform.inflate);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#workers[Symbol.asyncDispose]();
  }

  /**
   * Errors: InvalidArgument (malformed or escaping layer, with the entry's name), ResourceExhausted (disk),
   * FailedPrecondition (read-only mounts), DataLoss (other digest), Canceled, and what the source throws.
   */
  async apply(
    source: LayerSource,
    mounts: readonly Mount[],
    options: SignalledOptions = {},
  ): Promise<AppliedLayer> {
    const target = applyTarget(mounts);
    if (target.kind === 'directory')
      return this.#unpack(source, { root: target.root, whiteouts: 'remove' }, options);
    if (target.kind === 'mounts')
      return withTempMount(this.#platform, target.mounts, this.#tempRoot, (root) =>
        this.#unpack(source, { root, whiteouts: 'remove' }, options),
      );
    const { upper } = target;
    if (options.lowers !== undefined)
      return this.#unpackAhead(
        source,
        { root: upper, whiteouts: 'overlay', lowers: options.lowers },
        options,
      );
    const known = target.lowers;
    const lowers = known.length === 0 ? {} : { lowers: async () => known };
    return this.#unpack(source, { root: upper, whiteouts: 'overlay', ...lowers }, options);
  }

  /** As if the layers below had been there when its directory was made, down to what the root is like. */
  async #unpackAhead(
    source: LayerSource,
    place: Place & Required<Pick<Place, 'lowers'>>,
    options: SignalledOptions,
  ): Promise<AppliedLayer> {
    const applied = await this.#unpack(source, place, options);
    if (!applied.hasRoot) {
      const [nearest] = await place.lowers();
      takeAfter(place.root, nearest);
    }
    return applied;
  }

  async #unpack(
    source: LayerSource,
    { root, whiteouts, lowers }: Place,
    { signal, onProgress, onStarted, syncFileSystem }: SignalledOptions,
  ): Promise<AppliedLayer> {
    const stop = new AbortController();
    const stopped = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
    await using supply = this.#supply(source, stopped);
    const job = { root, isConfined: this.#isConfined, whiteouts, input: supply.input, ...supply.job };
    const { promise: gaveUp, reject: giveUp } = Promise.withResolvers<never>();
    gaveUp.catch(() => {});
    const { files } = this.#platform;
    await using worker = await this.#workers.start(job, {
      ...(onProgress && { onProgress }),
      ...(lowers && {
        // A worker that waits for what is below must wake up when all is given up.
        lowers: async () =>
          new OverlayLowers(files, { upper: root, lowers: await Promise.race([lowers(), gaveUp]) }),
      }),
    });
    onStarted?.();
    const failed = failureOf(worker.result, stopped);
    const pumping = supply.pump(failed);
    try {
      await Promise.race([failed, pumping]);
      const { inputHash, diffId, sizeBytes, hasRoot } = await Promise.race([failed, worker.result]);
      if (source.digest !== undefined && inputHash !== '' && inputHash !== digestHex(source.digest))
        throw damaged(source.digest);
      if (syncFileSystem === true) await files.syncFileSystem(root);
      return { diffId, sizeBytes, hasRoot };
    } finally {
      stop.abort();
      giveUp(canceled('layer abandoned'));
      supply.abandon();
      await pumping.catch(() => {});
    }
  }

  #supply(source: LayerSource, signal: AbortSignal): Supply {
    const { compression, digest } = source;
    const job = {
      ...(compression && { compression }),
      ...(digest && { inputAlgorithm: digestAlgorithm(digest) }),
    };
    if ('feed' in source) return feedSupply(source.feed, job);
    const bytes = source.open(signal);
    const memory = makeRingMemory();
    const ring = new ChunkRingWriter(memory);
    const common = {
      input: { kind: 'ring', memory } as const,
      abandon: () => ring.abandon(),
      [Symbol.asyncDispose]: async () => {},
    };
    if (this.takesFiles) return { ...common, job, pump: (failed) => pump(bytes, ring, failed) };
    const verified = digest === undefined ? bytes : verifying(bytes, digest);
    const inflated = decompress(verified, { signal, ...(compression && { compression }) });
    return { ...common, job: { compression: 'none' }, pump: (failed) => pump(inflated, ring, failed) };
  }
}

/** The worker follows the file by itself. */
function feedSupply(feed: LayerFeed, job: Supply['job']): Supply {
  const follower = feed.follow();
  const { fd, memory } = follower;
  return {
    input: { kind: 'feed', fd, memory },
    job,
    pump: async () => {},
    abandon: () => follower.abandon(),
    [Symbol.asyncDispose]: () => follower[Symbol.asyncDispose](),
  };
}

const damaged = (digest: Digest): ContainerdError =>
  dataLoss(`blob ${digest} is damaged on disk: remove it and pull it again`);

/** Errors: DataLoss when the bytes are not those of the digest. */
export async function* verifying(
  chunks: AsyncIterable<Uint8Array>,
  digest: Digest,
): AsyncGenerator<Uint8Array, void> {
  const hash = createHash(digestAlgorithm(digest));
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest('hex') !== digestHex(digest)) throw damaged(digest);
}

/** Rejects when the worker fails or the caller gives up; never resolves. */
function failureOf(result: Promise<unknown>, signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(ContainerdError.from(signal.reason));
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  result.catch(reject);
  promise.catch(() => {});
  return promise;
}

async function pump(
  chunks: AsyncIterable<Uint8Array>,
  ring: ChunkRingWriter,
  failed: Promise<never>,
): Promise<void> {
  for await (const chunk of chunks) await ring.write(chunk, failed);
  ring.end();
}
