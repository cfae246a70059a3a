import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasCode, permissionDenied } from '../base/errors.ts';
import { descriptorsOf } from '../testing/held.ts';
import { runCommand } from './command.ts';
import { LinuxProcesses } from './linux/processes.ts';
import type { SpawnRequest } from './platform.ts';
import { PortableProcesses } from './portable/processes.ts';

const env = { PATH: '/usr/bin:/bin' };

for (const [name, processes] of [
  ['Linux', new LinuxProcesses()],
  ['the portable twin', new PortableProcesses()],
] as const)
  describe(`commands on ${name}`, () => {
    const shell = (script: string, more: object = {}) =>
      runCommand(processes, { file: 'sh', args: ['-c', script], env, ...more });

    test('status, both outputs and input', async () => {
      const result = await shell('cat; echo oops >&2; exit 3', { stdin: Buffer.from('in') });
      assert.deepEqual([result.status, String(result.stdout), String(result.stderr)], [3, 'in', 'oops\n']);
    });

    test('a grandchild that keeps the output open is not waited for', async () => {
      const result = await shell('sleep 30 & echo $!');
      const grandchild = Number(String(result.stdout));
      assert.equal(result.status, 0);
      assert.ok(processes.isAlive(grandchild));
      processes.kill(grandchild, 9);
    });

    test('more input and output than a pipe holds', async () => {
      const stdin = Buffer.alloc(1024 * 1024, 'abc');
      assert.deepEqual((await shell('cat', { stdin })).stdout, stdin);
    });

    test('output over the bound is an error, however long the program goes on', async () => {
      const isExhausted = (error: unknown): boolean => hasCode(error, 'ResourceExhausted');
      await assert.rejects(shell('echo four', { maxOutputBytes: 4 }), isExhausted);
      await assert.rejects(shell('echo four >&2; exec sleep 30', { maxOutputBytes: 4 }), isExhausted);
      assert.equal((await shell('echo four', { maxOutputBytes: 5 })).status, 0);
    });

    test('a signal kills the program and its group', async () => {
      await assert.rejects(shell('sleep 30; true', { signal: AbortSignal.timeout(30) }), (error) =>
        hasCode(error, 'DeadlineExceeded'),
      );
      await assert.rejects(shell('true', { signal: AbortSignal.abort() }), (error) =>
        hasCode(error, 'Canceled'),
      );
    });

    test('a program that may not be killed is given up', async () => {
      const pids: number[] = [];
      const strict = {
        spawn: (request: SpawnRequest): number => {
          const pid = processes.spawn(request);
          pids.push(pid);
          return pid;
        },
        exited: (pid: number) => processes.exited(pid),
        kill: (): never => {
          throw permissionDenied('kill: not ours');
        },
      };
      await assert.rejects(
        runCommand(strict, { file: 'sleep', args: ['30'], env, signal: AbortSignal.timeout(30) }),
        (error) => hasCode(error, 'PermissionDenied'),
      );
      for (const pid of pids) {
        processes.kill(pid, 9);
        await processes.exited(pid);
      }
    });

    test('a program that is not there is NotFound, and nothing stays open', async () => {
      const before = descriptorsOf().length;
      await assert.rejects(runCommand(processes, { file: 'no-such-program', args: [], env }), (error) =>
        hasCode(error, 'NotFound'),
      );
      await shell('true', { stdin: Buffer.from('x') });
      assert.equal(descriptorsOf().length, before);
    });
  });
