/** The streams of a process over real runc (needs root): FIFOs whose clients come and go, logs, terminals. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needsRoot } from '../testing/needs-root.ts';
import { Status } from '../wire/gen/containerd/types/task/task_pb.js';
import { pipeReader } from '../wire/pipe.ts';
import { ShimWorld } from './shim-world.fixture.ts';

describe('streams of processes over runc, as root', {
  skip: needsRoot('it runs containers by runc'),
}, () => {
  let world: ShimWorld;

  before(async () => {
    world = await ShimWorld.make('shim-streams-test');
  });
  after(() => world[Symbol.asyncDispose]());

  test('input stays open over clients that come and go, and ends after CloseIO', async () => {
    const { id, bundle, output } = await world.make(['/bin/cat'], { stdin: 'in' });
    await world.tasks.start({ id });
    for (const text of ['one\n', 'two\n']) {
      const fd = openSync(join(bundle, 'in'), constants.O_WRONLY | constants.O_NONBLOCK);
      writeFileSync(fd, text);
      closeSync(fd);
    }
    assert.equal((await world.tasks.state({ id })).status, Status.RUNNING);
    await world.tasks.closeIO({ id, stdin: true });
    assert.equal(await output, 'one\ntwo\n');
    assert.equal(await world.finish(id), 0);
  });

  test('a client that goes away does not end the writer, and another takes up where it stopped', async () => {
    const fifo = join(world.root, 'again');
    world.platform.files.makeFifo(fifo, 0o700);
    const reader = (): number => openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const first = pipeReader(reader());
    const { id } = await world.make(['/bin/sh', '-c', 'echo one; cat; echo two'], {
      stdin: 'in',
      stdout: fifo,
    });
    await world.tasks.start({ id });
    const [chunk] = (await once(first, 'data')) as [Buffer];
    assert.equal(String(chunk), 'one\n');
    first.destroy();
    await once(first, 'close');
    await world.tasks.closeIO({ id, stdin: true });
    // A writer without a reader would die of SIGPIPE, with 141.
    assert.equal((await world.tasks.wait({ id })).exitStatus, 0);
    const second = reader();
    assert.equal(readFileSync(second, 'utf8'), 'two\n');
    closeSync(second);
    assert.equal(await world.finish(id), 0);
  });

  test('a client that comes late still gets everything', async () => {
    const fifo = join(world.root, 'late');
    world.platform.files.makeFifo(fifo, 0o700);
    const { id } = await world.make(['/bin/sh', '-c', 'echo early; cat'], { stdin: 'in', stdout: fifo });
    await world.tasks.start({ id });
    await using late = await open(fifo, 'r');
    await world.tasks.closeIO({ id, stdin: true });
    assert.equal(await late.readFile('utf8'), 'early\n');
    assert.equal(await world.finish(id), 0);
  });

  test('log files are appended to, by both streams', async () => {
    const log = join(world.root, 'logs', 'x.log');
    for (const round of ['1', '2']) {
      const { id } = await world.make(['/bin/sh', '-c', `echo out${round}; echo err${round} >&2`], {
        stdout: `file://${log}`,
      });
      await world.tasks.start({ id });
      assert.equal(await world.finish(id), 0);
    }
    assert.equal(readFileSync(log, 'utf8'), 'out1\nerr1\nout2\nerr2\n');
  });

  test('a log program gets both streams, its arguments and its container', async () => {
    const program = join(world.root, 'logger');
    const log = join(world.root, 'logged');
    writeFileSync(
      program,
      `#!/bin/sh\nexec 5>&-\n{ echo "$1 $2 $CONTAINER_NAMESPACE $CONTAINER_ID"; cat <&3; cat <&4; } > ${log}\n`,
      { mode: 0o755 },
    );
    const { id } = await world.make(['/bin/sh', '-c', 'echo out; echo err >&2'], {
      stdout: `binary://${program}?k=v`,
    });
    await world.tasks.start({ id });
    assert.equal(await world.finish(id), 0);
    assert.equal(readFileSync(log, 'utf8'), `k v ${world.namespace} ${id}\nout\nerr\n`);
  });

  test('a terminal: its size, every line, and the end of its output before it is deleted', async () => {
    const { id, output } = await world.make(
      ['/bin/sh', '-c', 'cat; stty size; seq 20000; echo last; exit 3'],
      {
        terminal: true,
        stdin: 'in',
      },
    );
    await world.tasks.start({ id });
    await world.tasks.resizePty({ id, width: 93, height: 31 });
    const fd = openSync(join(world.root, id, 'in'), constants.O_WRONLY | constants.O_NONBLOCK);
    writeFileSync(fd, '\x04');
    closeSync(fd);
    assert.equal((await world.tasks.wait({ id })).exitStatus, 3);
    const lines = (await output).split('\r\n');
    assert.equal(await world.finish(id), 3);
    assert.ok(lines[0]?.endsWith('31 93'), String(lines[0]));
    assert.deepEqual(lines.slice(-3), ['20000', 'last', '']);
    assert.equal(lines.length, 20_003);
  });
});
