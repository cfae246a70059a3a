import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reasonInLog, runcError } from './runc-log.ts';

void test('the last error counts, warnings do not', () => {
  const log = [
    '{"level":"error","msg":"first","time":"2026-01-01T00:00:00Z"}',
    '{"level":"error","msg":"runc create failed: exec: \\"nope\\": executable file not found in $PATH","time":"t"}',
    '{"level":"warning","msg":"cannot toggle freezer","time":"t"}',
    '',
  ].join('\n');
  assert.equal(reasonInLog(log), 'runc create failed: exec: "nope": executable file not found in $PATH');
  assert.equal(reasonInLog('{"level":"warning","msg":"w"}\n'), undefined);
});

void test('text that is no JSON is kept', () => {
  assert.equal(reasonInLog('panic: boom\ngoroutine 1\n'), 'panic: boom; goroutine 1');
});

void test('classes of failure by what runc says', () => {
  const rows: [string, string][] = [
    ['container with given ID already exists', 'AlreadyExists'],
    ['container does not exist', 'NotFound'],
    ['os: process already finished', 'NotFound'],
    ['cannot delete container c that is not stopped: running', 'FailedPrecondition'],
    ['unable to start container process: permission denied', 'Unknown'],
  ];
  for (const [msg, code] of rows)
    assert.equal(runcError('x', 1, JSON.stringify({ level: 'error', msg }), 'runc').code, code, msg);
});

void test('a silent failure still says what failed', () => {
  assert.equal(
    runcError('OCI runtime create failed', 139, '', '/usr/bin/runc').message,
    'OCI runtime create failed: /usr/bin/runc ended with status 139 and gave no reason',
  );
});
