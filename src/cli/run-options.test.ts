import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkRunFlags,
  parseEnv,
  parseLabels,
  parseVolume,
  type RunFlags,
  specOptionsOf,
} from './run-options.ts';

const flags: RunFlags = { env: [], volume: [], label: [], net: 'none', runtime: 'r', logDir: '/l' };
const around = { env: { HAVE: 'mine' }, cwd: '/' };
const specOf = (changes: Partial<RunFlags>) =>
  specOptionsOf({ ...flags, ...changes }, { args: ['a'], id: '0123456789abcdef', around });

test('variables: given, ours, and taken out', () => {
  assert.deepEqual(parseEnv(['A=b=c', 'HAVE', 'LACK', 'E='], around.env), [
    'A=b=c',
    'HAVE=mine',
    'LACK',
    'E=',
  ]);
  assert.throws(() => parseEnv(['=x'], {}), { exitCode: 2 });
});

test('volumes are bind mounts of paths that are there', () => {
  assert.deepEqual(parseVolume('/tmp:/mnt:ro', '/'), {
    destination: '/mnt',
    type: 'bind',
    source: '/tmp',
    options: ['rbind', 'rprivate', 'ro'],
  });
  assert.equal(parseVolume('./tmp:/mnt', '/').source, '/tmp');
  for (const text of ['/tmp', '/tmp:', ':/mnt', '/tmp:mnt', '/tmp:/mnt:rx', '/tmp:/mnt:ro:z', 'named:/mnt'])
    assert.throws(() => parseVolume(text, '/'), { exitCode: 2 }, text);
  assert.throws(() => parseVolume('/absent-path:/mnt', '/'), { exitCode: 1, message: /does not exist/ });
});

test('labels', () => {
  assert.deepEqual(parseLabels(['a=b=c', 'k']), { a: 'b=c', k: '' });
  assert.throws(() => parseLabels(['=v']), { exitCode: 2 });
});

test('limits, network, entrypoint and host name', () => {
  const spec = specOf({
    memory: '64m',
    cpus: '0.5',
    net: 'host',
    entrypoint: '/x',
    readOnly: true,
    tty: true,
  });
  assert.equal(spec.memoryLimitBytes, 64 * 1024 ** 2);
  assert.equal(spec.cpus, 0.5);
  assert.equal(spec.hostNetwork, true);
  assert.deepEqual(spec.entrypoint, ['/x']);
  assert.equal(spec.readOnlyRoot, true);
  assert.equal(spec.terminal, true);
  assert.equal(spec.hostname, '0123456789ab');
  assert.equal(specOf({ name: 'web' }).hostname, 'web');
  assert.equal(specOf({ name: 'web', hostname: 'h' }).hostname, 'h');
  assert.deepEqual(specOf({ entrypoint: '' }).entrypoint, []);
  assert.equal(specOf({}).hostNetwork, false);
  assert.throws(() => specOf({ workdir: 'rel' }), { exitCode: 2 });
});

test('what does not go together is refused', () => {
  assert.throws(() => checkRunFlags({ ...flags, detach: true, rm: true }, {}), { exitCode: 2 });
  assert.throws(() => checkRunFlags({ ...flags, tty: true, interactive: true }, {}), { exitCode: 2 });
  checkRunFlags({ ...flags, tty: true, interactive: true }, { isTTY: true });
  checkRunFlags({ ...flags, tty: true, interactive: true, detach: true }, {});
});
