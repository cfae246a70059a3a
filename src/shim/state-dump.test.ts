import assert from 'node:assert/strict';
import { test } from 'node:test';
import { background } from '../base/context.ts';
import { type LogFields, silentLogger } from '../base/logger.ts';
import type { Container } from './process/container.ts';
import { ShimCalls } from './shim-calls.ts';
import { dumpState } from './state-dump.ts';

const ctx = background(silentLogger);

function dumped(containers: readonly Container[], calls: ShimCalls): LogFields {
  const lines: LogFields[] = [];
  const log = { ...silentLogger, info: (fields: LogFields) => lines.push(fields) };
  dumpState({ containers, calls }, log);
  assert.equal(lines.length, 1);
  return lines[0] as LogFields;
}

test('calls are known while they last, whether they succeed or fail', async () => {
  const calls = new ShimCalls();
  const gate = Promise.withResolvers<string>();
  const handlers = calls.track({
    start: (_ctx: typeof ctx, _request: { id: string; execId: string }) => gate.promise,
    shutdown: (_ctx: typeof ctx, _request: object) => Promise.reject(new Error('no')),
  });
  const starting = handlers.start(ctx, { id: 'c', execId: 'e' });
  await assert.rejects(handlers.shutdown(ctx, {}), /no/);
  const [call, ...more] = calls.list();
  assert.deepEqual(more, []);
  assert.deepEqual(call, { method: 'start', namespace: '', id: 'c', execId: 'e', ageMs: call?.ageMs });
  assert.ok((call?.ageMs ?? -1) >= 0);
  const state = dumped([], calls);
  assert.deepEqual([state['callsInAll'], state['containersInAll'], state['pid']], [1, 0, process.pid]);
  gate.resolve('done');
  assert.equal(await starting, 'done');
  assert.deepEqual(calls.list(), []);
});

test('a dump has a bound', () => {
  const init = { pid: 7, step: 'running' };
  const execs = new Map([['e', { id: 'e', step: 'stopped' }]]);
  const one = { namespace: 'n', id: 'c', init, paused: true, execs } as unknown as Container;
  const state = dumped(
    Array.from({ length: 5_000 }, () => one),
    new ShimCalls(),
  );
  assert.equal(state['containersInAll'], 5_000);
  assert.deepEqual((state['containers'] as object[])[0], {
    id: 'n/c',
    pid: 7,
    phase: 'paused',
    execs: ['e stopped'],
  });
  assert.ok(JSON.stringify(state).length < 32 * 1024);
});
