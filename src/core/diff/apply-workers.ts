/**
 * The apply workers of this process, seen from the main thread. Each is used for one layer and then ended: a thread
 * cannot leave its confinement unless it keeps a way out, and a way out is what confinement is against
 * (docs/decisions/0030-apply-workers.md). To hide the ~30 ms of a start, one fresh worker is kept ready while
 * layers are coming in.
 *
 * Workers are never terminated: koffi aborts the whole process when its thread is terminated while it loads or
 * throws. They end by themselves, when their job is done or their ring abandoned, or when told that there is none.
 */
import { lstat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { MessageChannel, Worker } from 'node:worker_threads';
import { ContainerdError, codedError, internal, resourceExhausted } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { Semaphore } from '../../base/semaphore.ts';
import type { Platform } from '../../platform/platform.ts';
import type { AppliedLayer, ApplyJob, LowerAnswer, LowerRequest, WorkerReport } from './apply-protocol.ts';
import type { LowerLayers } from './lower-tree.ts';

/** The worker's entry point, beside this file in the sources and beside the bundle in a build. */
function workerUrl(): URL {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new URL(`./apply-worker.${extension}`, import.meta.url);
}

/** With the hash of the input as it came, or "". */
export type HashedLayer = AppliedLayer & { readonly inputHash: string };

export interface RunningApply extends AsyncDisposable {
  /** Rejects as soon as the worker fails. Dispose waits for its end: abandon the ring first. */
  readonly result: Promise<HashedLayer>;
}

/** What the main thread sees to while the worker runs. */
export interface ApplySupport {
  /** The layers below, for a worker that asks about them; may wait until they are complete. */
  readonly lowers?: () => Promise<LowerLayers>;
  readonly onProgress?: (bytes: number) => void;
}

type Job = Omit<ApplyJob, 'answers' | 'answered' | 'hasLowers'>;

/** One worker thread, from its start to its end. Listeners are put on once and stay. */
class ApplyThread {
  readonly ended: Promise<void>;
  readonly result: Promise<HashedLayer>;
  readonly #worker: Worker;
  readonly #log: Logger;
  #answer: (request: LowerRequest) => void = () => {};
  #progress: (bytes: number) => void = () => {};
  #isWaiting = true;

  constructor(platformName: Platform['name'], log: Logger) {
    this.#log = log;
    const worker = new Worker(workerUrl(), {
      env: { ...process.env, GANTRY_PLATFORM: platformName },
      resourceLimits: { maxOldGenerationSizeMb: limits.applyWorkerHeapMb },
    });
    this.#worker = worker;
    this.ended = new Promise((resolve) => worker.once('exit', () => resolve()));
    this.result = new Promise((resolve, reject) => {
      worker.on('message', (report: WorkerReport) => this.#take(report, resolve, reject));
      worker.once('error', (error) => reject(workerError(error)));
      worker.once('exit', () => reject(internal('apply worker ended without an answer')));
    });
    // Whoever asked may have stopped listening by the time it fails.
    this.result.catch(() => {});
  }

  /** Gives it its one job. */
  run(job: Job, { lowers, onProgress }: ApplySupport): void {
    this.#leaveWaiting();
    if (onProgress !== undefined) this.#progress = onProgress;
    const counter = new Int32Array(new SharedArrayBuffer(4));
    const { port1, port2 } = new MessageChannel();
    const answer = async (request: LowerRequest): Promise<void> => {
      port1.postMessage(await answerFor(lowers, request));
      Atomics.add(counter, 0, 1);
      Atomics.notify(counter, 0);
    };
    this.#answer = (request) => void answer(request);
    void this.ended.then(() => port1.close());
    const full: ApplyJob = {
      ...job,
      hasLowers: lowers !== undefined,
      answers: port2,
      answered: counter.buffer,
    };
    this.#worker.postMessage(full, [port2]);
  }

  /** Ends it without a job. */
  async dismiss(): Promise<void> {
    this.#leaveWaiting();
    this.#worker.postMessage(undefined);
    await this.ended;
  }

  #leaveWaiting(): void {
    this.#isWaiting = false;
    this.#worker.ref();
  }

  #take(
    report: WorkerReport,
    resolve: (layer: HashedLayer) => void,
    reject: (error: ContainerdError) => void,
  ): void {
    if (report.kind === 'ready') {
      // The process may end while a spare waits, but not while it loads.
      if (this.#isWaiting) this.#worker.unref();
    } else if (report.kind === 'done') resolve(report);
    else if (report.kind === 'failed') reject(codedError(report.error.code, report.error.message));
    else if (report.kind === 'progress') this.#progress(report.sizeBytes);
    else if (report.kind === 'warning') this.#log.warn(report.fields, report.message);
    else this.#answer(report);
  }
}

export class ApplyWorkers implements AsyncDisposable {
  readonly #platform: Platform;
  readonly #log: Logger;
  readonly #permits = new Semaphore(Math.max(limits.minApplyWorkers, availableParallelism()));
  #spare: ApplyThread | undefined;
  #spareTimer: NodeJS.Timeout | undefined;
  #isPoolStarted = false;

  constructor({ platform, log }: { platform: Platform; log: Logger }) {
    this.#platform = platform;
    this.#log = log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dropSpare();
  }

  /** Starts a worker on `job`. Waits while too many run. */
  async start(job: Job, support: ApplySupport): Promise<RunningApply> {
    const permit = await this.#permits.acquire();
    try {
      await this.#startPool();
      const thread = this.#spare ?? new ApplyThread(this.#platform.name, this.#log);
      this.#keepSpare(new ApplyThread(this.#platform.name, this.#log));
      thread.run(job, support);
      return {
        result: thread.result,
        [Symbol.asyncDispose]: async () => {
          await thread.ended;
          permit[Symbol.dispose]();
        },
      };
    } catch (error) {
      permit[Symbol.dispose]();
      throw error;
    }
  }

  /** libuv's pool takes the file system context of the thread that first uses it: that must be this one. */
  async #startPool(): Promise<void> {
    if (this.#isPoolStarted) return;
    await lstat('/');
    this.#isPoolStarted = true;
  }

  #keepSpare(thread: ApplyThread): void {
    clearTimeout(this.#spareTimer);
    this.#spare = thread;
    void thread.ended.then(() => {
      if (this.#spare === thread) this.#spare = undefined;
    });
    this.#spareTimer = setTimeout(() => void this.#dropSpare(), limits.spareApplyWorkerMs).unref();
  }

  async #dropSpare(): Promise<void> {
    clearTimeout(this.#spareTimer);
    const thread = this.#spare;
    this.#spare = undefined;
    await thread?.dismiss();
  }
}

async function answerFor(
  lowers: ApplySupport['lowers'],
  { kind, components }: LowerRequest,
): Promise<LowerAnswer> {
  try {
    const layers = await lowers?.();
    if (kind === 'lookup') return { node: layers?.lookup(components) };
    layers?.copyUp(components);
    return { node: undefined };
  } catch (error) {
    const { code, message } = ContainerdError.from(error);
    return { error: { code, message } };
  }
}

function workerError(error: unknown): ContainerdError {
  const isMemory = error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY';
  return isMemory
    ? resourceExhausted(`layer has too many entries for ${limits.applyWorkerHeapMb} MiB of memory`, error)
    : internal(`apply worker failed: ${messageOf(error)}`, error);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
