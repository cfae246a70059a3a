/** What a shim left behind is found whatever it is doing just then, and nothing else is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContainerId, parseNamespace } from '../../../base/identifiers.ts';
import { silentLogger as log } from '../../../base/logger.ts';
import { killLeftBehind } from './left-behind.ts';

const bundle = { namespace: parseNamespace('default'), id: parseContainerId('c'), path: '/bundles/c' };
const daemon = { ttrpcAddress: '/run/gantry.sock.ttrpc' };
const ours = [`TTRPC_ADDRESS=${daemon.ttrpcAddress}`, 'HOME=/'];

/** A process by what it shows at each look; the last again and again. */
interface Shown {
  readonly directory: string;
  readonly environments: string[][];
}

/** Processes that go when they are killed, and what becomes of each. */
function machine(shown: Record<number, Shown>) {
  const alive = new Map(Object.entries(shown).map(([pid, process]) => [Number(pid), process]));
  const killed: number[] = [];
  const processes = {
    list: () => [...alive.keys()],
    workingDirectory: (pid: number) => alive.get(pid)?.directory,
    environment: (pid: number) => {
      const environments = alive.get(pid)?.environments ?? [];
      return (environments.length > 1 ? environments.shift() : environments[0]) ?? [];
    },
    kill: (pid: number) => {
      killed.push(pid);
      alive.delete(pid);
    },
  };
  return { processes, killed, alive };
}

test('kills what was given our address in the bundle, and nobody else', async () => {
  const { processes, killed } = machine({
    11: { directory: bundle.path, environments: [ours] },
    12: { directory: bundle.path, environments: [['HOME=/root']] },
    13: { directory: '/bundles/other', environments: [ours] },
  });
  await killLeftBehind({ processes, log }, bundle, daemon);
  assert.deepEqual(killed, [11]);
});

test('a process in the middle of execve is looked at again', async () => {
  const { processes, killed } = machine({
    11: { directory: bundle.path, environments: [[], [], ours] },
    12: { directory: bundle.path, environments: [[], ['HOME=/root']] },
  });
  await killLeftBehind({ processes, log }, bundle, daemon);
  assert.deepEqual(killed, [11]);
});

test('a child that was born during the look is found by the next', async () => {
  const { processes, killed, alive } = machine({ 11: { directory: bundle.path, environments: [ours] } });
  const kill = (pid: number): void => {
    processes.kill(pid);
    if (pid === 11) alive.set(12, { directory: bundle.path, environments: [ours] });
  };
  await killLeftBehind({ processes: { ...processes, kill }, log }, bundle, daemon);
  assert.deepEqual(killed, [11, 12]);
});

test('one that never shows what it is ends the looking', async () => {
  const { processes, killed } = machine({ 11: { directory: bundle.path, environments: [[]] } });
  await killLeftBehind({ processes, log }, bundle, daemon);
  assert.deepEqual(killed, []);
});
