/** What the rest of the house asks of garbage collection. Implemented in scheduler.ts beside. */
import type { Context } from '../../base/context.ts';

export interface GarbageCollector {
  /** Runs now (or joins the next run) and waits for it. Errors: whatever made the run fail. */
  collect(ctx: Context): Promise<void>;
  /** Tells that something was written, or, with `deleted`, that something may have become garbage. */
  mutated(change: { deleted: boolean }): void;
}
