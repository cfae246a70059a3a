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
import { ContainerdError, internal, resourceExhausted } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { Semaphore } from '../../base/semaphore.ts';
import type { Platform } from '../../platform/platform.ts';
import type { ApplyJob, LowerAnswer, LowerRequest, WorkerReport } from './apply-protocol.ts';
import type { AppliedLayer } from './layer-applier.ts';
import type { LowerLayers } from './tree-writer.ts';

/** The worker's entry point, beside this file in the sources and beside the bundle in a build. */
function workerUrl(): URL {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new URL(`./apply-worker.${extension}`, import.meta.url);
}

export interface RunningApply extends AsyncDisposable {
  /** Rejects as soon as the worker fails. Dispose waits for its end: abandon the ring first. */
  readonly result: Promise<AppliedLayer>;
}

export class ApplyWorkers implements AsyncDisposable {
  readonly #platform: Platform;
  readonly #log: Logger;
  readonly #permits = new Semaphore(Math.max(limits.minApplyWorkers, availableParallelism()));
  #spare: Worker | undefined;
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
  async start(
    job: Omit<ApplyJob, 'answers' | 'answered' | 'hasLowers'>,
    lowers: LowerLayers | undefined,
  ): Promise<RunningApply> {
    const permit = await this.#permits.acquire();
    try {
      await this.#startPool();
      const worker = this.#take();
      const answered = new SharedArrayBuffer(4);
      const { port1: answers, port2 } = new MessageChannel();
      const result = this.#listen(worker, (request) => {
        answers.postMessage(answerFor(lowers, request));
        const counter = new Int32Array(answered);
        Atomics.add(counter, 0, 1);
        Atomics.notify(counter, 0);
      });
      // Whoever asked may have stopped listening by the time it fails.
      result.catch(() => {});
      const full: ApplyJob = { ...job, hasLowers: lowers !== undefined, answers: port2, answered };
      worker.postMessage(full, [port2]);
      const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      return {
        result,
        [Symbol.asyncDispose]: async () => {
          await ended;
          answers.close();
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

  #launch(): Worker {
    const worker = new Worker(workerUrl(), {
      env: { ...process.env, GANTRY_PLATFORM: this.#platform.name },
      resourceLimits: { maxOldGenerationSizeMb: limits.applyWorkerHeapMb },
    });
    return worker;
  }

  #take(): Worker {
    const worker = this.#spare ?? this.#launch();
    clearTimeout(this.#spareTimer);
    worker.removeAllListeners();
    worker.ref();
    this.#keepSpare(this.#launch());
    return worker;
  }

  #keepSpare(worker: Worker): void {
    this.#spare = worker;
    const forget = (): void => {
      if (this.#spare === worker) this.#spare = undefined;
    };
    // The process may end while a spare waits, but not while it loads.
    worker.once('message', () => worker.unref());
    worker.once('error', (error) => {
      this.#log.warn({ error: messageOf(error) }, 'apply worker did not start');
      forget();
    });
    worker.once('exit', forget);
    this.#spareTimer = setTimeout(() => void this.#dropSpare(), limits.spareApplyWorkerMs).unref();
  }

  async #dropSpare(): Promise<void> {
    clearTimeout(this.#spareTimer);
    const worker = this.#spare;
    this.#spare = undefined;
    if (worker === undefined) return;
    worker.ref();
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    worker.postMessage(undefined);
    await ended;
  }

  #listen(worker: Worker, answer: (request: LowerRequest) => void): Promise<AppliedLayer> {
    return new Promise((resolve, reject) => {
      worker.on('message', (report: WorkerReport) => {
        if (report.kind === 'done') resolve(report);
        else if (report.kind === 'failed')
          reject(new ContainerdError(report.error.code, report.error.message));
        else if (report.kind === 'ready') return;
        else if (report.kind === 'warning') this.#log.warn(report.fields, report.message);
        else answer(report);
      });
      worker.once('error', (error) => reject(workerError(error)));
      worker.once('exit', () => reject(internal('apply worker ended without an answer')));
    });
  }
}

function answerFor(lowers: LowerLayers | undefined, { kind, components }: LowerRequest): LowerAnswer {
  try {
    if (kind === 'lookup') return { node: lowers?.lookup(components) };
    lowers?.copyUp(components);
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
