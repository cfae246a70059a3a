/**
 * A process at rest gives memory back: garbage is collected, then the platform hands to the kernel what it can.
 *
 * At rest is a process whose event loop was nearly idle for a whole interval; so a busy one never pauses for it, and
 * one that goes on resting is left alone. docs/decisions/0100-memory.md has the figures.
 */
import { performance } from 'node:perf_hooks';
import type { MemoryOperations } from './platform.ts';

export interface RestOptions {
  readonly intervalMs?: number;
  /** A loop that worked for a smaller part of an interval is idle. */
  readonly idleShare?: number;
  /**
   * Growth of the resident memory since it was given back last that makes another time worth it. About 8 MB come
   * back by themselves, with the parts of Node that even an idle loop runs through.
   */
  readonly growthBytes?: number;
  /** After this long at rest it is done once more, for what ended meanwhile: spare workers, timers, connections. */
  readonly settledMs?: number;
}

/** Node's own, where it is started with --expose-gc as the launchers do. */
const collectGarbage = (): void => globalThis.gc?.({ type: 'major', execution: 'sync' });

/** Watches this process until disposed of; does not keep it alive. */
export function giveBackAtRest(memory: MemoryOperations, options: RestOptions = {}): Disposable {
  const {
    intervalMs = 5_000,
    idleShare = 0.02,
    growthBytes = 14 * 1024 * 1024,
    settledMs = 30_000,
  } = options;
  let residentBytes = 0;
  let againAtMs = Number.POSITIVE_INFINITY;
  let previous = performance.eventLoopUtilization();
  const look = (): void => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, previous);
    previous = now;
    if (utilization > idleShare) return;
    const grew = process.memoryUsage.rss() >= residentBytes + growthBytes;
    if (!grew && performance.now() < againAtMs) return;
    collectGarbage();
    memory.release();
    residentBytes = process.memoryUsage.rss();
    againAtMs = grew ? performance.now() + settledMs : Number.POSITIVE_INFINITY;
    previous = performance.eventLoopUtilization();
  };
  const timer = setInterval(look, intervalMs);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
