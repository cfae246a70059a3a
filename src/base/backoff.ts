/** Waits between tries of the same thing: each twice as long as the one before, up to a bound, and ended by a signal. */
import { setTimeout as wait } from 'node:timers/promises';
import { checkSignal } from './context.ts';

export interface Backoff {
  /** After the first failure. */
  readonly firstMs: number;
  readonly maxMs?: number;
}

/** How long to wait after so many failures, at least one. */
export const backoffMs = (failures: number, { firstMs, maxMs = Number.POSITIVE_INFINITY }: Backoff): number =>
  Math.min(firstMs * 2 ** (failures - 1), maxMs);

/** Between half of it and all of it, so that many who failed together do not come back together. */
export const jittered = (delayMs: number): number => delayMs * (0.5 + Math.random() / 2);

/** Errors: Canceled, DeadlineExceeded (the signal's). */
export async function pause(delayMs: number, signal?: AbortSignal): Promise<void> {
  try {
    await wait(delayMs, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    if (signal !== undefined) checkSignal(signal);
    throw error;
  }
}
