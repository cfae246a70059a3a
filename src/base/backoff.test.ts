import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffMs, jittered, pause } from './backoff.ts';
import { hasCode } from './errors.ts';

test('waits double up to their bound', () => {
  const waits = [1, 2, 3, 4, 5].map((failures) => backoffMs(failures, { firstMs: 10, maxMs: 50 }));
  assert.deepEqual(waits, [10, 20, 40, 50, 50]);
  assert.equal(backoffMs(11, { firstMs: 1 }), 1024);
});

test('jitter keeps at least half', () => {
  for (let round = 0; round < 100; round += 1) {
    const delayMs = jittered(100);
    assert.ok(delayMs >= 50 && delayMs <= 100);
  }
});

test('a signal ends a wait', async () => {
  const controller = new AbortController();
  const waiting = assert.rejects(pause(3_600_000, controller.signal), (error) => hasCode(error, 'Canceled'));
  controller.abort();
  await waiting;
  await assert.doesNotReject(pause(0, new AbortController().signal));
});
