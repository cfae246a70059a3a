import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { hasCode } from '../base/errors.ts';
import { until } from '../testing/until.ts';
import { PullWatchdog } from './pull-watchdog.ts';

const step = (event: string, name = '') => ({ event, name, parents: [], progress: 0, total: 0 });
const isCanceled = (watchdog: PullWatchdog): boolean => hasCode(watchdog.signal.reason, 'Canceled');

test('a registry that does not answer at all', async () => {
  using watchdog = new PullWatchdog('app', { timeoutMs: 20 });
  await once(watchdog.signal, 'abort');
  assert.ok(isCanceled(watchdog));
});

test('a layer that stands still, but not one that moves', async () => {
  using watchdog = new PullWatchdog('app', { timeoutMs: 200 });
  watchdog.note(step('fetching image content', 'app'));
  const startedMs = performance.now();
  await until(
    'more time than the limit has gone by in small steps',
    () => {
      watchdog.note(step('downloading', 'layer'));
      return performance.now() - startedMs > 500;
    },
    { everyMs: 10 },
  );
  assert.equal(watchdog.signal.aborted, false);
  await once(watchdog.signal, 'abort');
  assert.ok(isCanceled(watchdog));
});

test('nothing fires while nothing is on its way, nor after the end', async () => {
  const watchdog = new PullWatchdog('app', { timeoutMs: 10 });
  watchdog.note(step('fetching image content', 'app'));
  watchdog.note(step('downloading', 'layer'));
  watchdog.note(step('complete', 'layer'));
  using slower = new PullWatchdog('other', { timeoutMs: 50 });
  await once(slower.signal, 'abort');
  assert.equal(watchdog.signal.aborted, false);
  watchdog.note(step('downloading', 'next'));
  watchdog[Symbol.dispose]();
  using last = new PullWatchdog('other', { timeoutMs: 50 });
  await once(last.signal, 'abort');
  assert.equal(watchdog.signal.aborted, false);
});

test('0 is without a limit', async () => {
  using unlimited = new PullWatchdog('app', { timeoutMs: 0 });
  using limited = new PullWatchdog('app', { timeoutMs: 20 });
  await once(limited.signal, 'abort');
  assert.equal(unlimited.signal.aborted, false);
});
