/** Waits for a condition by asking it again, and says which one it was when it never came. */
import { setTimeout as sleep } from 'node:timers/promises';

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  { timeoutMs = 15_000, everyMs = 20 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let reason: unknown;
  for (;;) {
    try {
      if (await condition()) return;
      reason = undefined;
    } catch (error) {
      reason = error;
    }
    if (Date.now() > deadline)
      throw new Error(`gave up waiting until ${what} (${timeoutMs} ms)`, { cause: reason });
    await sleep(everyMs);
  }
}
