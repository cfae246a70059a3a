/** A shim is killed between two steps that need no runc, and what only it knew is found again. */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadContainer } from '../../src/shim/bundle/state-file.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { Status } from '../../src/wire/gen/containerd/types/task/task_pb.js';
import { ShimLab } from '../support/shim-lab.ts';

const SIGKILL = 9;
const sleep = ['/bin/sleep', '1000'];
const skip = needsRoot('it runs containers by runc');

describe('a shim that is killed between two steps, as root', { skip, timeout: 120_000 }, () => {
  let lab: ShimLab;
  before(async () => {
    lab = await ShimLab.open();
  });
  after(async () => {
    await lab[Symbol.asyncDispose]();
  });

  const stateOf = async (id: string): Promise<Status> => (await lab.tasks.state({ id })).status;

  test('a start without a runc in flight: it runs, or can be started again', async () => {
    const [early, late] = [await lab.create(sleep), await lab.create(sleep)];
    await lab.kill();
    for (const id of [early, late]) {
      const saved = loadContainer(lab.bundle(id));
      const starting = { ...saved, init: { ...saved?.init, phase: 'starting' } };
      appendFileSync(join(lab.bundle(id), 'gantry-shim.json'), `${JSON.stringify(starting)}\n`);
    }
    // All of a start but its last step.
    const fifo = join(lab.root, 'shim/runc/shim-lab', late, 'exec.fifo');
    assert.equal(readFileSync(fifo, 'latin1'), '0');
    await lab.start();
    assert.equal(await stateOf(early), Status.CREATED);
    await lab.tasks.start({ id: early });
    assert.equal(await stateOf(late), Status.RUNNING);
    // runc takes it for running, too.
    await lab.tasks.pause({ id: late });
    await lab.tasks.resume({ id: late });
    for (const id of [early, late]) {
      assert.equal(await lab.finish(id, SIGKILL), 137);
      assert.deepEqual(
        lab.topics(id).filter((topic) => !/paused|resumed/.test(topic)),
        ['create', 'start', 'exit init 137', 'delete'],
      );
    }
  });

  test('execs that end at once have their statuses as soon as their starts are answered', async () => {
    const id = await lab.run(sleep);
    const execs = Array.from({ length: 8 }, (_, at) => ({ execId: `brief${at}`, status: 40 + at }));
    for (const { execId, status } of execs)
      await lab.addExec(id, execId, ['/bin/sh', '-c', `exit ${status}`]);
    await Promise.all(execs.map(({ execId }) => lab.tasks.start({ id, execId })));
    await lab.kill({ now: true });
    await lab.start();
    for (const { execId, status } of execs)
      assert.equal((await lab.tasks.wait({ id, execId })).exitStatus, status, execId);
    assert.equal(await lab.finish(id, SIGKILL), 137);
  });

  test('a log program of the shim before is waited for by the delete', async () => {
    const program = join(lab.root, 'slow-logger');
    const log = join(lab.root, 'slow-log');
    // What is written last comes after a while, and it does not go because it is told to.
    writeFileSync(
      program,
      `#!/bin/sh\ntrap '' TERM\nexec 5>&-\ncat <&3 >${log}\nsleep 0.6\necho done >>${log}\n`,
      { mode: 0o755 },
    );
    const id = await lab.run(['/bin/sh', '-c', 'echo first; exec sleep 1000'], {
      stdout: `binary://${program}`,
    });
    await lab.replace();
    await lab.replace();
    assert.equal(await lab.finish(id, SIGKILL), 137);
    assert.equal(readFileSync(log, 'utf8'), 'first\ndone\n');
  });
});
