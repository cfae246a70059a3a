/** Containers of docker while one of the processes above them goes away: dockerd, our daemon, the shim. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import type { DockerLab } from './docker-lab.ts';
import { attempt } from './run.ts';

const speak = 'trap "exit 9" TERM; i=0; while :; do i=$((i+1)); echo n$i; sleep 0.05; done';
const leave = 'while [ ! -e /go ]; do sleep 0.02; done; echo gone; exit 7';

interface Story {
  readonly how: string;
  /** Ends something, calls `meanwhile`, and sees to it that all is there again. */
  readonly interrupt: (lab: DockerLab, meanwhile: () => Promise<void>) => Promise<void>;
}

const stories: readonly Story[] = [
  {
    how: 'a restart of dockerd',
    interrupt: async ({ engine }, meanwhile) => {
      await engine.stop();
      await meanwhile();
      await engine.start();
    },
  },
  {
    how: 'kill -9 of dockerd',
    interrupt: async ({ engine }, meanwhile) => {
      await engine.kill();
      await meanwhile();
      await engine.start();
    },
  },
  {
    how: 'kill -9 of our daemon',
    interrupt: async ({ gantry }, meanwhile) => {
      await gantry.kill();
      await meanwhile();
      await gantry.start();
    },
  },
  {
    how: 'the end of both',
    interrupt: async ({ gantry, engine }, meanwhile) => {
      await engine.kill();
      await gantry.kill();
      await meanwhile();
      await gantry.start();
      await engine.start();
    },
  },
  {
    how: 'kill -9 of the shim',
    interrupt: async ({ gantry }, meanwhile) => {
      const pattern = `containerd-shim-gantry-v1.* -address ${gantry.address} .*serve`;
      const [shim = ''] = (await attempt('pgrep', ['-f', pattern])).stdout.split('\n');
      process.kill(Number(shim), 'SIGKILL');
      await meanwhile();
    },
  },
];

export function dockerRestarts(given: () => DockerLab): void {
  for (const [index, { how, interrupt }] of stories.entries())
    test(`after ${how}: containers run on, logs go on, ends are known, and all goes on`, async () => {
      const lab = given();
      const [stays, leaves] = [`stays-${index}`, `leaves-${index}`];
      await lab.start(stays, speak);
      await lab.start(leaves, leave);
      const [staying, leaving] = [await lab.pidOf(stays), await lab.pidOf(leaves)];
      await interrupt(lab, async () => {
        assert.ok(existsSync(`/proc/${staying}`), 'a container went along');
        await writeFile(join(`/proc/${leaving}/root/go`), '');
        await until('one has left', () => !existsSync(`/proc/${leaving}`));
      });
      await until('its end is known', async () => {
        const state = await lab.inspect(leaves, '{{.State.Status}} {{.State.ExitCode}}');
        return state === 'exited 7';
      });
      assert.equal(await lab.inspect(stays, '{{.State.Status}} {{.State.Pid}}'), `running ${staying}`);
      await until(
        'an exec works',
        async () => (await lab.docker('exec', stays, 'echo', 'here')) === 'here\n',
      );
      const last = (await lab.docker('logs', '-n', '1', stays)).trim();
      await until(
        'its output goes on',
        async () => (await lab.docker('logs', '-n', '1', stays)).trim() !== last,
      );
      assert.equal(await lab.once('echo new'), 'new\n');
      await lab.docker('pause', stays);
      await lab.docker('unpause', stays);
      await lab.docker('stop', '-t', '20', stays);
      assert.equal(await lab.inspect(stays, '{{.State.Status}} {{.State.ExitCode}}'), 'exited 9');
      const { status, stdout } = await lab.docker.attempt(['start', '-a', leaves]);
      assert.deepEqual([status, stdout], [7, 'gone\n']);
      await lab.docker('rm', stays, leaves);
    });

  test('dockerd has logged no error of our daemon but that it was away', async () => {
    const expected = [
      // It was away.
      /code = Unavailable|connection refused|transport is closing|Failed to get event/,
      // It listens before it has read which containers it has, and then asks for each of them.
      /failed to process event.*could not find container/,
      // What failed to start, and what is removed by force, dockerd may delete twice.
      /failed to delete container from containerd: .*(?:no such container|not found)/,
    ];
    const errors = (await given().engine.log())
      .split('\n')
      .filter((line) => /level=(error|fatal)/.test(line) && /containerd|shim|rpc error/.test(line))
      .filter((line) => !expected.some((pattern) => pattern.test(line)));
    assert.deepEqual(errors, []);
  });
}
