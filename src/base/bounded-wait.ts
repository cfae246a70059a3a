/** Waits for a promise that a signal or the time may end before it is settled. The promise itself goes on. */
import { checkSignal } from './context.ts';

/** Value of `promise`, waited for no longer than `signal` allows. Errors: Canceled, DeadlineExceeded, its own. */
export async function raceSignal<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  checkSignal(signal);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => {
    try {
      checkSignal(signal);
    } catch (error) {
      reject(error);
    }
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Value of `promise`, or undefined when it is not settled within `timeoutMs`. Errors: its own. */
export async function raceTime<Value>(
  promise: Promise<Value>,
  timeoutMs: number,
): Promise<{ readonly value: Value } | undefined> {
  const { promise: timeUp, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), timeoutMs);
  try {
    return await Promise.race([promise.then((value) => ({ value })), timeUp]);
  } finally {
    clearTimeout(timer);
  }
}
