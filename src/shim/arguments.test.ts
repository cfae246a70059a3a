import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../base/errors.ts';
import { parseArguments } from './arguments.ts';

void test('the words that containerd passes', () => {
  const parsed = parseArguments(
    '-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a-1 -bundle /b start'.split(
      ' ',
    ),
  );
  assert.equal(parsed.command, 'start');
  assert.equal(parsed.namespace, 'k8s.io');
  assert.equal(parsed.address, '/run/c.sock');
  assert.equal(parsed.publishBinary, '/usr/bin/containerd');
  assert.equal(parsed.id, 'a-1');
  assert.equal(parsed.bundle, '/b');
  assert.equal(parsed.debug, false);
});

void test('every spelling of a flag that Go takes', () => {
  const parsed = parseArguments(['--id=x', '-namespace=n', '--debug', '-bundle', '/a=b', 'delete']);
  assert.deepEqual([parsed.id, parsed.namespace, parsed.debug, parsed.bundle], ['x', 'n', true, '/a=b']);
  assert.equal(parseArguments(['-debug=false']).debug, false);
  assert.equal(parseArguments(['-v']).showVersion, true);
  assert.equal(parseArguments(['-info']).showInfo, true);
});

void test('what cannot be meant is refused', () => {
  for (const words of [
    ['-nope', 'start'],
    ['stop'],
    ['start', 'start'],
    ['-id'],
    ['-debug=maybe'],
    ['-grace-ms=-1'],
  ])
    assert.throws(
      () => parseArguments(words),
      (error) => hasCode(error, 'InvalidArgument'),
      words.join(' '),
    );
});
