import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { type OutputTarget, parseCriTarget, parseOutput } from './log-uri.ts';

void test('every form that clients write', () => {
  const rows: [string, OutputTarget][] = [
    ['', { kind: 'null' }],
    ['/run/f/c-stdout', { kind: 'fifo', path: '/run/f/c-stdout' }],
    ['/run/100%/x', { kind: 'fifo', path: '/run/100%/x' }],
    ['fifo:///run/f', { kind: 'fifo', path: '/run/f' }],
    ['file:///var/log/a%20b.log', { kind: 'file', path: '/var/log/a b.log' }],
    ['file:///var/log/x?ignored=1', { kind: 'file', path: '/var/log/x' }],
    ['binary:///bin/l', { kind: 'binary', path: '/bin/l', args: [], mustWriteReady: false }],
    [
      'binary:///bin/l?--id=a%3Db&flag&--id=second&x=1+2',
      { kind: 'binary', path: '/bin/l', args: ['--id', 'a=b', 'flag', 'x', '1 2'], mustWriteReady: false },
    ],
    ['binary-v2:///bin/l?a=b', { kind: 'binary', path: '/bin/l', args: ['a', 'b'], mustWriteReady: true }],
  ];
  for (const [text, target] of rows) assert.deepEqual(parseOutput(text), target, text);
});

void test('what is refused, and how', () => {
  const rows: [string, 'InvalidArgument' | 'Unimplemented'][] = [
    ['relative', 'InvalidArgument'],
    ['file://relative', 'InvalidArgument'],
    ['binary:///x?a=%zz', 'InvalidArgument'],
    ['/with\0zero', 'InvalidArgument'],
    ['binary:///x?a%00=b', 'InvalidArgument'],
    ['binary:///x?a=%00', 'InvalidArgument'],
    ['ttrpc+unix:///s?streaming_id=c', 'Unimplemented'],
  ];
  for (const [text, code] of rows)
    assert.throws(
      () => parseOutput(text),
      (error) => hasCode(error, code),
      text,
    );
});

void test('cri: a log with its longest line, none, and input for one client or for all', () => {
  const target = { kind: 'cri', path: '/a b', maxLineBytes: 4096, once: false };
  assert.deepEqual(parseOutput('cri:///a%20b?max-line=4096'), target);
  assert.deepEqual(parseOutput('cri:///a%20b?max-line=0'), { ...target, maxLineBytes: 262_144 });
  assert.deepEqual(parseOutput('cri://'), { ...target, path: '', maxLineBytes: 262_144 });
  assert.equal(parseCriTarget('cri://?once')?.once, true);
  assert.equal(parseCriTarget('/a/fifo'), undefined);
  for (const uri of ['cri://relative', 'cri:///x?max-line=-1', 'cri:///x?max-line=1e3', 'cri:///%00'])
    assert.throws(() => parseOutput(uri), { code: 'InvalidArgument' });
});
