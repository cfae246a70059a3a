import assert from 'node:assert/strict';
import { test } from 'node:test';
import { childEnvironment } from './child-environment.ts';

test('a child gets our environment, but for what a service manager set for us', (t) => {
  const ours = {
    NOTIFY_SOCKET: '/run/n',
    LISTEN_FDS: '1',
    LISTEN_PID: '1',
    WATCHDOG_USEC: '5',
    GANTRY_X: 'x',
  };
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  Object.assign(process.env, ours);
  const env = childEnvironment({ ADDED: 'a', GANTRY_Y: 'y' });
  assert.equal(env['PATH'], process.env['PATH']);
  assert.deepEqual([env['ADDED'], env['GANTRY_X'], env['GANTRY_Y']], ['a', 'x', 'y']);
  for (const name of ['NOTIFY_SOCKET', 'LISTEN_FDS', 'LISTEN_PID', 'WATCHDOG_USEC'])
    assert.equal(name in env, false, name);
});
