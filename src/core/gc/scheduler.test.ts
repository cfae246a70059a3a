import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { background, withSignal } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { silentLogger } from '../../base/logger.ts';
import { defaultGcThresholds, GcScheduler, type GcThresholds } from './scheduler.ts';

const ctx = background(silentLogger);

class CountedRuns {
  starts: number[] = [];
  pauseMs = 0;
  failure: Error | undefined;
  next = Promise.withResolvers<void>();
  hold: Promise<void> | undefined;

  async run(): Promise<{ pauseMs: number }> {
    this.starts.push(performance.now());
    this.next.resolve();
    this.next = Promise.withResolvers();
    await this.hold;
    if (this.failure !== undefined) throw this.failure;
    return { pauseMs: this.pauseMs };
  }
}

const make = (runner: CountedRuns, thresholds: Partial<GcThresholds> = {}): GcScheduler =>
  new GcScheduler(
    { runner, log: silentLogger },
    { ...defaultGcThresholds, startupDelayMs: 0, ...thresholds },
  );

describe('collection scheduler', () => {
  test('runs when asked, and the caller waits for a whole run of its own', async () => {
    const runner = new CountedRuns();
    await using scheduler = make(runner);
    const held = Promise.withResolvers<void>();
    runner.hold = held.promise;
    const started = runner.next.promise;
    const first = scheduler.collect(ctx);
    await started;
    const second = scheduler.collect(ctx);
    const third = scheduler.collect(ctx);
    held.resolve();
    await first;
    await Promise.all([second, third]);
    assert.equal(runner.starts.length, 2);
  });

  test('runs by itself after a deletion, and after as many mutations as the threshold', async () => {
    const runner = new CountedRuns();
    await using scheduler = make(runner, { mutationThreshold: 3, pauseThreshold: 0.5 });
    const afterDeletion = runner.next.promise;
    scheduler.mutated({ deleted: true });
    await afterDeletion;
    const afterMutations = runner.next.promise;
    await scheduler.collect(ctx);
    await afterMutations;
    const runs = runner.starts.length;
    scheduler.mutated({ deleted: false });
    scheduler.mutated({ deleted: false });
    const third = runner.next.promise;
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(runner.starts.length, runs);
    scheduler.mutated({ deleted: false });
    await third;
  });

  test('pauses stay below their share of time', async ({ mock }) => {
    let nowMs = 1000;
    mock.timers.enable({ apis: ['setTimeout'] });
    mock.method(performance, 'now', () => nowMs);
    const pass = (ms: number): void => {
      nowMs += ms;
      mock.timers.tick(ms);
    };
    const runner = new CountedRuns();
    runner.pauseMs = 20;
    await using scheduler = make(runner, { pauseThreshold: 0.25 });
    const collected = scheduler.collect(ctx);
    pass(1);
    await collected;
    // The run lets go of the scheduler after it has told those who waited.
    await new Promise((resolve) => setImmediate(resolve));
    scheduler.mutated({ deleted: true });
    // avg / threshold − avg = 20 / 0.25 − 20
    pass(59);
    assert.equal(runner.starts.length, 1);
    pass(1);
    assert.equal(runner.starts.length, 2);
  });

  test('many deletions come forward when there is a threshold for them', async () => {
    const runner = new CountedRuns();
    runner.pauseMs = 60_000;
    await using scheduler = make(runner, { deletionThreshold: 2 });
    await scheduler.collect(ctx);
    const again = runner.next.promise;
    scheduler.mutated({ deleted: true });
    scheduler.mutated({ deleted: true });
    await again;
  });

  test('a failed run fails those who waited, and the next one can succeed', async () => {
    const runner = new CountedRuns();
    runner.failure = new Error('disk is on fire');
    await using scheduler = make(runner);
    await assert.rejects(scheduler.collect(ctx), /disk is on fire/);
    runner.failure = undefined;
    await scheduler.collect(ctx);
  });

  test('a caller that goes away does not stop the run; stopping fails those who wait', async () => {
    const runner = new CountedRuns();
    const scheduler = make(runner, { scheduleDelayMs: 60_000 });
    const abort = new AbortController();
    const left = scheduler.collect(withSignal(ctx, abort.signal));
    const stays = scheduler.collect(ctx);
    abort.abort();
    await assert.rejects(left, (error) => hasCode(error, 'Canceled'));
    const rejected = assert.rejects(stays, (error) => hasCode(error, 'Canceled'));
    await scheduler[Symbol.asyncDispose]();
    await rejected;
    await assert.rejects(scheduler.collect(ctx), (error) => hasCode(error, 'Canceled'));
    assert.equal(runner.starts.length, 0);
  });

  test('says when the next run comes', async () => {
    const runner = new CountedRuns();
    await using scheduler = make(runner, { mutationThreshold: 3, startupDelayMs: 60_000 });
    assert.deepEqual(scheduler.schedule(), { isRunning: false, dueInMs: undefined, writesNeeded: 3 });
    scheduler.mutated({ deleted: false });
    assert.deepEqual(scheduler.schedule(), { isRunning: false, dueInMs: undefined, writesNeeded: 2 });
    scheduler.mutated({ deleted: true });
    const { dueInMs = 0 } = scheduler.schedule();
    assert.ok(dueInMs > 50_000 && dueInMs <= 60_000, String(dueInMs));
    const held = Promise.withResolvers<void>();
    runner.hold = held.promise;
    const started = runner.next.promise;
    const collected = scheduler.collect(ctx);
    await started;
    assert.equal(scheduler.schedule().isRunning, true);
    held.resolve();
    await collected;
    assert.equal(scheduler.schedule().dueInMs, undefined);
  });

  test('a share of 0 is no share, and without a change there is no run whatever the thresholds', async () => {
    const runner = new CountedRuns();
    await using scheduler = make(runner, { pauseThreshold: 0, mutationThreshold: 0 });
    assert.equal(scheduler.schedule().dueInMs, undefined);
    scheduler.mutated({ deleted: false });
    const { dueInMs = 0 } = scheduler.schedule();
    assert.ok(dueInMs > 500 && dueInMs <= 1000, String(dueInMs));
    await scheduler.collect(ctx);
    assert.equal(scheduler.schedule().dueInMs, undefined);
  });
});
