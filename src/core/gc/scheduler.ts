/**
 * Decides when collection runs, by containerd's thresholds.
 *
 * After each run the next may come no sooner than avg/pauseThreshold − avg, so that writers' pauses stay below that
 * share of time, and a change waits that long too. It comes when something was deleted, or `mutationThreshold` things
 * were written, or somebody asks; who asks, and deletions past `deletionThreshold`, wait only for `scheduleDelayMs`. Unlike containerd no timer runs
 * while nothing has changed.
 */
import { raceSignal } from '../../base/bounded-wait.ts';
import { background, type Context } from '../../base/context.ts';
import { type ContainerdError, canceled } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { CollectionSchedule, GarbageCollector, GcRun } from './garbage-collector.ts';

export interface GcThresholds {
  /** Share of time that writers may wait; at most 0.5. 0 sets no share: then a second lies between runs. */
  readonly pauseThreshold: number;
  /** 0: deletions alone never bring a run forward. */
  readonly deletionThreshold: number;
  readonly mutationThreshold: number;
  readonly scheduleDelayMs: number;
  readonly startupDelayMs: number;
}

export const defaultGcThresholds: GcThresholds = {
  pauseThreshold: 0.02,
  deletionThreshold: 0,
  mutationThreshold: 100,
  scheduleDelayMs: 0,
  startupDelayMs: 100,
};

export interface GcRunner {
  /** One run; `pauseMs` is what writers waited. */
  run(ctx: Context): Promise<{ readonly pauseMs: number }>;
}

const leastPauseMs = 5;
const failureDelayMs = 1000;
const noShareIntervalMs = 1000;

export class GcScheduler implements GarbageCollector, AsyncDisposable {
  readonly #runner: GcRunner;
  readonly #log: Logger;
  #thresholds: GcThresholds;
  #deletions = 0;
  #mutations = 0;
  #waiters: PromiseWithResolvers<void>[] = [];
  #timer: { readonly handle: NodeJS.Timeout; readonly at: number } | undefined;
  #running: Promise<void> | undefined;
  #earliest: number;
  #dueAt: number | undefined;
  #intervalMs: number;
  #pausesMs = 0;
  #runs = 0;
  #stopped = false;
  readonly #listeners = new Set<(run: GcRun) => void>();

  constructor({ runner, log }: { runner: GcRunner; log: Logger }, thresholds: GcThresholds) {
    this.#runner = runner;
    this.#log = log;
    this.#thresholds = bounded(thresholds);
    this.#earliest = performance.now() + thresholds.startupDelayMs;
    this.#intervalMs = this.#intervalAfter(leastPauseMs);
  }

  /** Takes effect with the next change or run. */
  useThresholds(thresholds: GcThresholds): void {
    this.#thresholds = bounded(thresholds);
  }

  /** Errors: what made the run fail; Canceled when the scheduler stops or the caller does. */
  async collect(ctx: Context): Promise<void> {
    if (this.#stopped) throw stopped();
    const waiter = Promise.withResolvers<void>();
    // A caller that has gone must not leave a rejection that nobody handles.
    waiter.promise.catch(() => {});
    // A run under way may have marked before the caller's change: the next one counts.
    this.#waiters.push(waiter);
    this.#arm();
    await raceSignal(waiter.promise, ctx.signal);
  }

  mutated({ deleted }: { deleted: boolean }): void {
    this.#mutations += 1;
    if (deleted) this.#deletions += 1;
    this.#arm();
  }

  onRun(listener: (run: GcRun) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  schedule(): CollectionSchedule {
    const writesNeeded = Math.max(0, this.#thresholds.mutationThreshold - this.#mutations);
    const dueInMs = this.#timer === undefined ? undefined : Math.max(0, this.#timer.at - performance.now());
    return { isRunning: this.#running !== undefined, dueInMs, writesNeeded };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== undefined) clearTimeout(this.#timer.handle);
    this.#timer = undefined;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(stopped());
    await this.#running;
  }

  #arm(): void {
    if (this.#stopped || this.#running !== undefined) return;
    const at = this.#nextRun();
    if (at === undefined || (this.#timer !== undefined && this.#timer.at <= at)) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer.handle);
    const handle = setTimeout(() => this.#start(), Math.max(0, at - performance.now()));
    // Nobody waits for a run of its own accord, so it does not keep the process alive.
    if (this.#waiters.length === 0) handle.unref();
    this.#timer = { handle, at };
  }

  /** On performance.now()'s clock; undefined when there is nothing to do. */
  #nextRun(): number | undefined {
    const { deletionThreshold, mutationThreshold, scheduleDelayMs } = this.#thresholds;
    const isPressing =
      this.#waiters.length > 0 || (deletionThreshold > 0 && this.#deletions >= deletionThreshold);
    if (isPressing) return performance.now() + scheduleDelayMs;
    const isIdle = this.#deletions === 0 && this.#mutations === 0;
    if (isIdle || (this.#deletions === 0 && this.#mutations < mutationThreshold)) return undefined;
    // Never at once: a client that deletes one thing and makes the next is in the middle of its work.
    this.#dueAt ??= Math.max(this.#earliest, performance.now() + this.#intervalMs);
    return this.#dueAt;
  }

  #intervalAfter(pauseMs: number): number {
    const { pauseThreshold } = this.#thresholds;
    return pauseThreshold > 0 ? pauseMs / pauseThreshold - pauseMs : noShareIntervalMs;
  }

  #start(): void {
    this.#timer = undefined;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      this.#arm();
    });
  }

  #tell(run: GcRun): void {
    for (const listener of this.#listeners) listener(run);
  }

  async #run(): Promise<void> {
    const waiters = this.#waiters.splice(0);
    this.#deletions = 0;
    this.#mutations = 0;
    this.#dueAt = undefined;
    try {
      const { pauseMs } = await this.#runner.run(background(this.#log));
      this.#runs += 1;
      this.#pausesMs += pauseMs;
      const averageMs = Math.max(this.#pausesMs / this.#runs, leastPauseMs);
      this.#intervalMs = this.#intervalAfter(averageMs);
      this.#earliest = performance.now() + this.#intervalMs;
      this.#log.debug({ pauseMs }, 'garbage collected');
      this.#tell({ pauseMs });
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      this.#log.error({ err: error }, 'garbage collection failed');
      this.#tell({ pauseMs: undefined });
      // What should have been collected still has to be.
      this.#deletions += 1;
      this.#earliest = performance.now() + this.#intervalMs + failureDelayMs;
      for (const waiter of waiters) waiter.reject(error);
    }
  }
}

const stopped = (): ContainerdError => canceled('garbage collection is stopping');

const bounded = (thresholds: GcThresholds): GcThresholds => ({
  ...thresholds,
  pauseThreshold: Math.min(thresholds.pauseThreshold, 0.5),
});
