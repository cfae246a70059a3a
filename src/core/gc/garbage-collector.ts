/** What the rest of the house asks of garbage collection. Implemented in scheduler.ts beside. */
import type { Context } from '../../base/context.ts';

/** One run that has ended. */
export interface GcRun {
  /** What writers waited; undefined for a run that failed. */
  readonly pauseMs: number | undefined;
}

/** When the next run comes. */
export interface CollectionSchedule {
  readonly isRunning: boolean;
  /** Undefined when too little has changed: then it waits for a removal, or for writes. */
  readonly dueInMs: number | undefined;
  /** Without a removal. */
  readonly writesNeeded: number;
}

export interface GarbageCollector {
  /** Runs now (or joins the next run) and waits for it. Errors: whatever made the run fail. */
  collect(ctx: Context): Promise<void>;
  /** Tells that something was written, or, with `deleted`, that something may have become garbage. */
  mutated(change: { deleted: boolean }): void;
  schedule(): CollectionSchedule;
  /** `listener` is told of each run from now on. */
  onRun(listener: (run: GcRun) => void): Disposable;
}
