import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../testing/assertions.ts';
import { raceSignal, raceTime } from './bounded-wait.ts';
import { notFound } from './errors.ts';

const never = new Promise<never>(() => {});

test('a wait by a signal ends with the promise, or with the signal', async () => {
  const controller = new AbortController();
  assert.equal(await raceSignal(Promise.resolve('value'), controller.signal), 'value');
  await rejectsWith(raceSignal(Promise.reject(notFound('thing', 'x')), controller.signal), 'NotFound');
  const waiting = raceSignal(never, controller.signal);
  controller.abort();
  await rejectsWith(waiting, 'Canceled');
  await rejectsWith(raceSignal(Promise.resolve('value'), controller.signal), 'Canceled');
  await rejectsWith(raceSignal(never, AbortSignal.timeout(1)), 'DeadlineExceeded');
});

test('a wait by time ends with the promise, or without a value', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  assert.deepEqual(await raceTime(Promise.resolve(undefined), 1000), { value: undefined });
  await rejectsWith(raceTime(Promise.reject(notFound('thing', 'x')), 1000), 'NotFound');
  let isOver = false;
  const waiting = raceTime(never, 1000).finally(() => {
    isOver = true;
  });
  t.mock.timers.tick(999);
  await Promise.resolve();
  assert.equal(isOver, false);
  t.mock.timers.tick(1);
  assert.equal(await waiting, undefined);
});

test('what fails after its wait is over disturbs nobody', async () => {
  const { promise, reject } = Promise.withResolvers<void>();
  assert.equal(await raceTime(promise, 1), undefined);
  reject(notFound('thing', 'x'));
  await new Promise((resolve) => setImmediate(resolve));
});
