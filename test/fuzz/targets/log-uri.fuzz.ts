/** Where output goes: absolute paths and arguments that a program can be given. */
import assert from 'node:assert/strict';
import { parseOutput } from '../../../src/shim/io/log-uri.ts';
import { type FuzzTarget, textOf } from '../fuzz-target.ts';

export const logUri: FuzzTarget = {
  name: 'log-uri',
  seeds: [
    '',
    '/run/containerd/fifo/1/stdout',
    'fifo:///run/x',
    'file:///var/log/a%20b.log',
    'binary:///usr/bin/logger?id=x+y&k2=&k=%2F',
    'binary-v2:///usr/bin/logger',
  ],
  hostile: [
    'binary:///x?a%00=b',
    'binary:///x?a=%00',
    'file:///a%00b',
    'file://host/x',
    'binary:///x?__proto__=1',
    'npipe:////./x',
  ],
  words: ['fifo://', 'file://', 'binary://', 'binary-v2://', '?', '&', '=', '+', '%2f', '%00', '%e9'],
  refusals: ['InvalidArgument', 'Unimplemented'],
  check(input) {
    const target = parseOutput(textOf(input));
    if (target.kind === 'null') return;
    const texts = target.kind === 'binary' ? [target.path, ...target.args] : [target.path];
    assert.ok(target.path.startsWith('/'));
    assert.ok(
      texts.every((text) => !text.includes('\0')),
      'NUL in what a program is given',
    );
  },
};
