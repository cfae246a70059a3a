/**
 * A process at rest gives memory back: garbage is collected, then the platform hands to the kernel what it can.
 *
 * At rest is a process whose event loop was nearly idle for a whole interval after it had worked; one that goes on
 * resting is left alone. So a busy process never pauses for it. docs/decisions/0100-memory.md has the figures.
 */
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import type { MemoryOperations } from './platform.ts';

export interface RestOptions {
  readonly intervalMs?: number;
  /** A loop that worked for a smaller part of an interval is idle. */
  readonly idleShare?: number;
  /** Work since memory was given back last that makes another time worth it. */
  readonly workMs?: number;
}

/** Node's own, where it is started with --expose-gc as the launchers do. */
const collectGarbage = (): void => globalThis.gc?.({ type: 'major', execution: 'sync' });

/** Watches this process until disposed of; does not keep it alive. */
export function giveBackAtRest(memory: MemoryOperations, options: RestOptions = {}): Disposable {
  const { intervalMs = 5_000, idleShare = 0.02, workMs = 100 } = options;
  let released: EventLoopUtilization | undefined;
  let previous = performance.eventLoopUtilization();
  const look = (): void => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, previous);
    previous = now;
    if (utilization > idleShare) return;
    // The start itself is work that is always worth it; most of it happens before the loop is counted.
    if (released !== undefined && now.active - released.active < workMs) return;
    collectGarbage();
    memory.release();
    released = performance.eventLoopUtilization();
    previous = released;
  };
  const timer = setInterval(look, intervalMs);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
