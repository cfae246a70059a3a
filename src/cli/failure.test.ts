import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerdError, notFound } from '../base/errors.ts';
import { asFailure, asStartFailure, usage } from './failure.ts';
import { tellFailure } from './tell-failure.ts';

test('a start that fails has the exit code that shells know', () => {
  const cases: [message: string, exitCode: number][] = [
    ['runc create failed: exec: "nope": executable file not found in $PATH', 127],
    ['runc create failed: exec: "/nope": stat /nope: no such file or directory', 127],
    ['runc create failed: exec: "/etc/passwd": permission denied', 126],
    ['exec /app: exec format error', 126],
    ['failed to mount rootfs: permission denied', 125],
    ['no space left on device', 125],
  ];
  for (const [message, exitCode] of cases)
    assert.equal(asStartFailure(new ContainerdError('Unknown', message)).exitCode, exitCode, message);
  assert.equal(asStartFailure(new ContainerdError('Canceled', 'x')).exitCode, 130);
  assert.equal(asStartFailure(usage('x')).exitCode, 2);
});

test('codes of the daemon become words and something to do', () => {
  assert.equal(asFailure(notFound('image', 'x')).message, 'image "x": not found');
  assert.match(asFailure(new ContainerdError('Unauthenticated', 'pull x')).hint ?? '', /-u USER:PASSWORD/);
  assert.match(asFailure(new ContainerdError('NotFound', 'pull x: resolve')).hint ?? '', /name and tag/);
  assert.equal(asFailure(new Error('odd')).exitCode, 1);
});

test('a failure is told in its lines, without what could steer the terminal', () => {
  const told: string[] = [];
  tellFailure({ write: (text) => told.push(text) }, usage('a\u001b[2J\nb', 'do c'));
  assert.equal(told.join(''), 'gantry: a?[2J\n        b\nhint: do c\n');
});
