import assert from 'node:assert/strict';
import { test } from 'node:test';
import { giveBackAtRest } from './rest.ts';

/** Counts releases; `reached` resolves with the `count`-th. */
function counting(count: number): { release: () => void; reached: Promise<void>; count: () => number } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let releases = 0;
  const release = (): void => {
    releases += 1;
    if (releases === count) resolve();
  };
  return { release, reached: promise, count: () => releases };
}

/** Timers that keep the loop going, as a server's sockets do. */
const rounds = (count: number, eachMs: number): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = count;
  const timer = setInterval(() => {
    left -= 1;
    if (left > 0) return;
    clearInterval(timer);
    resolve();
  }, eachMs);
  return promise;
};

function work(durationMs: number): void {
  const end = performance.now() + durationMs;
  while (performance.now() < end);
}

test('memory is given back at the first rest, and again only after growth', async () => {
  const memory = counting(1);
  using _rest = giveBackAtRest(memory, {
    intervalMs: 20,
    idleShare: 0.9,
    growthBytes: 32 << 20,
    settledMs: 60_000,
  });
  await Promise.all([memory.reached, rounds(1, 20)]);
  await rounds(10, 20);
  assert.equal(memory.count(), 1);
  const grown = Buffer.alloc(64 << 20, 1);
  await rounds(10, 20);
  assert.equal(memory.count(), 2);
  assert.equal(grown[0], 1);
});

test('it is done once more when the rest has lasted', async () => {
  const memory = counting(2);
  using _rest = giveBackAtRest(memory, {
    intervalMs: 10,
    idleShare: 0.9,
    growthBytes: 32 << 20,
    settledMs: 60,
  });
  await Promise.all([memory.reached, rounds(30, 10)]);
  assert.equal(memory.count(), 2);
});

test('a busy process is let alone', async () => {
  const memory = counting(1);
  using _rest = giveBackAtRest(memory, { intervalMs: 40, idleShare: 0.02, growthBytes: 0 });
  const busy = setInterval(() => work(8), 10);
  await rounds(20, 20);
  clearInterval(busy);
  assert.equal(memory.count(), 0);
});

test('nothing happens after disposal', async () => {
  const memory = counting(1);
  giveBackAtRest(memory, { intervalMs: 5 })[Symbol.dispose]();
  await rounds(6, 5);
  assert.equal(memory.count(), 0);
});
