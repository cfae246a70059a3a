/** The list of calls, and what observers are told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unavailable } from '../base/errors.ts';
import { InFlightCalls, type ServedCall } from './in-flight.ts';

const call = (method: string, more: Partial<ServedCall> = {}): ServedCall => ({
  protocol: 'grpc',
  method,
  kind: 'unary',
  namespace: undefined,
  timeoutMs: undefined,
  peer: undefined,
  header: () => undefined,
  ...more,
});

test('the list has calls from their begin to their end, oldest first', () => {
  const calls = new InFlightCalls();
  const peer = { pid: 7, uid: 0, gid: 0 };
  const first = calls.begin(call('a/A', { timeoutMs: 5000, peer: () => peer }));
  const second = calls.begin(
    call('b/B', {
      peer: () => {
        throw unavailable('gone');
      },
    }),
  );
  const [a, b] = calls.list();
  assert.deepEqual([a?.id, a?.method, a?.peer, b?.id, b?.peer], [1, 'a/A', peer, 2, undefined]);
  assert.ok((a?.deadlineInMs ?? 0) > 4000 && b?.deadlineInMs === undefined);
  first[Symbol.dispose]();
  assert.deepEqual(
    calls.list().map(({ id }) => id),
    [2],
  );
  second[Symbol.dispose]();
  assert.equal(calls.size, 0);
});

test('observers are told of begin, messages and end, and are around the handler', () => {
  const calls = new InFlightCalls();
  const told: string[] = [];
  const observer = (name: string) => ({
    began: ({ method }: ServedCall) => {
      told.push(`${name} began ${method}`);
      return {
        received: () => told.push(`${name} received`),
        sent: () => told.push(`${name} sent`),
        ended: (code: number) => told.push(`${name} ended ${code}`),
        run: <Answer>(handle: () => Answer): Answer => {
          told.push(`${name} in`);
          const answer = handle();
          told.push(`${name} out`);
          return answer;
        },
      };
    },
  });
  const one = calls.observe(observer('1'));
  {
    using running = calls.begin(call('a/A'));
    assert.equal(
      running.run(() => 42),
      42,
    );
    running.received();
    running.sent();
    running.failed(5);
  }
  assert.deepEqual(told, ['1 began a/A', '1 in', '1 out', '1 received', '1 sent', '1 ended 5']);
  told.length = 0;
  calls.observe(observer('2'));
  calls.observe({ began: () => ({}) });
  {
    using running = calls.begin(call('b/B'));
    running.run(() => told.push('handler'));
  }
  assert.deepEqual(told, [
    '1 began b/B',
    '2 began b/B',
    '2 in',
    '1 in',
    'handler',
    '1 out',
    '2 out',
    '1 ended 0',
    '2 ended 0',
  ]);
  one[Symbol.dispose]();
  told.length = 0;
  calls.begin(call('c/C'))[Symbol.dispose]();
  assert.deepEqual(told, ['2 began c/C', '2 ended 0']);
});
