/** Async iteration bound to a signal, for both protocols. */
import { raceSignal } from '../base/bounded-wait.ts';
import { ContainerdError } from '../base/errors.ts';

/**
 * The items of `source` until `signal` fires: then it throws Canceled or DeadlineExceeded, also while the source is
 * busy, and the source is told to return without being waited for (a generator returns only at its next yield).
 */
export async function* untilAborted<Item>(
  source: AsyncIterable<Item>,
  signal: AbortSignal,
): AsyncGenerator<Item, void> {
  const iterator = source[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const step = await raceSignal(nextOf(iterator), signal);
      if (step.done === true) {
        ended = true;
        return;
      }
      yield step.value;
    }
  } catch (error) {
    ended = !signal.aborted;
    throw error;
  } finally {
    if (!ended) {
      const returned = iterator.return?.();
      if (signal.aborted) returned?.catch(() => {});
      else await returned;
    }
  }
}

/** A step whose late failure nobody waits for any more is not an unhandled rejection. */
function nextOf<Item>(iterator: AsyncIterator<Item>): Promise<IteratorResult<Item>> {
  const step = iterator.next();
  step.catch(() => {});
  return step;
}

/** What an aborted call fails with, or the failure itself while the signal has not fired. */
export const failureOf = (thrown: unknown, signal: AbortSignal | undefined): ContainerdError =>
  ContainerdError.from(signal?.aborted === true ? signal.reason : thrown);
