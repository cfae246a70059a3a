import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type LogFields, silentLogger } from '../../base/logger.ts';
import { selectPlatform } from '../../platform/select.ts';
import { adoptedExit, isStill } from './adopted-exit.ts';

const folder = mkdtempSync(join(tmpdir(), 'gantry-adopted-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const { processes } = await selectPlatform();
const deps = { processes, log: silentLogger };

/** Ends with the code when `go` is there. */
function spawn(code: number, go: string): number {
  const script = `until [ -e ${join(folder, go)} ]; do sleep 0.01; done; exit ${code}`;
  return processes.spawn({
    file: '/bin/sh',
    args: ['-c', script],
    env: { PATH: process.env['PATH'] ?? '' },
    stdio: ['null', 'null', 'null'],
  });
}

test('a process that lives is watched to its end', async () => {
  const pid = spawn(6, 'one');
  const adopted = { pid, startTicks: processes.startTicks(pid) };
  assert.ok(isStill(processes, adopted));
  const exit = adoptedExit(deps, adopted, undefined);
  writeFileSync(join(folder, 'one'), '');
  assert.deepEqual([(await exit).pid, (await exit).status], [pid, 6]);
  await processes.exited(pid);
  assert.ok(!isStill(processes, adopted));
});

test('another that has its pid is not taken for it: 255, and a line in the log', async () => {
  const warned: LogFields[] = [];
  const log = { ...silentLogger, warn: (fields: LogFields) => warned.push(fields) };
  for (const startTicks of [(processes.startTicks(process.pid) ?? 0n) - 1n, undefined]) {
    const adopted = { pid: process.pid, startTicks };
    assert.ok(!isStill(processes, adopted));
    const exit = await adoptedExit({ processes, log }, adopted, undefined);
    assert.deepEqual([exit.pid, exit.status], [process.pid, 255]);
  }
  assert.deepEqual(warned, [{ pid: process.pid }, { pid: process.pid }]);
});

test('a watch that fails counts as an end, so that nobody waits for ever', async () => {
  const failing = { ...deps, processes: Object.create(processes) as typeof processes };
  failing.processes.foreignExited = () => Promise.reject(new Error('no descriptors'));
  const adopted = { pid: process.pid, startTicks: processes.startTicks(process.pid) };
  assert.equal((await adoptedExit(failing, adopted, undefined)).status, 255);
});
