import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLogger } from '../../base/logger.ts';
import { selectPlatform } from '../../platform/select.ts';
import { until } from '../../testing/until.ts';
import { createWords, globalWords } from '../runc/runc-arguments.ts';
import { bundleIn, callsEnded, removeLogs, runcCalls } from './calls-in-flight.ts';

const bundle = mkdtempSync(join(tmpdir(), 'gantry-calls-'));
after(() => rmSync(bundle, { recursive: true, force: true }));
const { processes } = await selectPlatform();
const setup = { binary: 'runc', root: '/r', systemdCgroup: true };

test('the bundle of a command line, and of no other program', () => {
  const create = createWords({
    id: 'c',
    bundle: '/b/c',
    pidFile: '/b/c/init.pid',
    consoleSocket: undefined,
    noPivotRoot: false,
    noNewKeyring: false,
  });
  const words = ['runc', ...globalWords(setup, '/b/c/runc-create-1.log'), ...create];
  for (const [line, expected] of [
    [words, '/b/c'],
    [['/bin/sh', '/usr/local/bin/wrapped-runc', ...words.slice(1)], '/b/c'],
    [['runc', 'init'], undefined],
    [['dockerd', '--log', '/var/log/docker.log'], undefined],
    [['x', '--log'], undefined],
    [[], undefined],
  ] as const)
    assert.equal(bundleIn(line), expected);
});

/** A program with the words of a runc of the bundle. */
const spawn = (script: string): number =>
  processes.spawn({
    file: '/bin/sh',
    args: ['-c', `${script}; :`, 'runc', '--log', join(bundle, 'runc-start-3.log')],
    env: { PATH: process.env['PATH'] ?? '' },
    stdio: ['null', 'null', 'null'],
  });

test('a runc that is at work is found and waited for', async () => {
  const pid = spawn(`until [ -e ${bundle}/go ]; do sleep 0.01; done`);
  // In the middle of execve(2) a process shows no words for a moment.
  await until('its words are there', () => processes.arguments(pid).length > 0);
  assert.deepEqual(runcCalls(processes).get(bundle), [pid]);
  let ended: boolean | undefined;
  const waiting = callsEnded({ processes, log: silentLogger }, [pid]).then((answer) => {
    ended = answer;
  });
  assert.equal(ended, undefined);
  writeFileSync(join(bundle, 'go'), '');
  await Promise.all([processes.exited(pid), waiting]);
  assert.equal(ended, true);
  assert.equal(runcCalls(processes).get(bundle), undefined);
});

test('a runc that hangs is killed, and that is told', async () => {
  const pid = spawn('exec sleep 1000');
  const exited = processes.exited(pid);
  assert.equal(await callsEnded({ processes, log: silentLogger }, [pid], { endMs: 20 }), false);
  assert.equal((await exited).status, 137);
});

test('logs of calls are removed, and nothing else', () => {
  for (const name of ['runc-start-3.log', 'runc-exec-9.log', 'runc-notes', 'config.json'])
    writeFileSync(join(bundle, name), '');
  removeLogs(bundle);
  rmSync(join(bundle, 'go'), { force: true });
  assert.deepEqual(readdirSync(bundle).sort(), ['config.json', 'runc-notes']);
});
