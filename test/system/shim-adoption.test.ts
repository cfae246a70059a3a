/** A shim is killed, and the next one in its directory takes everything over: real runc, the task API, kill -9. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { hasCode } from '../../src/base/errors.ts';
import { loadContainer } from '../../src/shim/bundle/state-file.ts';
import { mountsBelow } from '../../src/testing/held.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { anyFromWire, anyToWire, jsonTypeUrls, packJson } from '../../src/wire/any.ts';
import { Task } from '../../src/wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Status } from '../../src/wire/gen/containerd/types/task/task_pb.js';
import { pipeReader } from '../../src/wire/pipe.ts';
import { connectTtrpc } from '../../src/wire/ttrpc/client.ts';
import { makeRuncStandIn } from '../support/runc-stand-in.ts';
import { ShimLab } from '../support/shim-lab.ts';

const SIGKILL = 9;
const SIGTERM = 15;
const SIGUSR1 = 10;
const sleep = ['/bin/sleep', '1000'];
const skip = needsRoot('it runs containers by runc');

describe('a shim that is killed, as root', { skip, timeout: 240_000 }, () => {
  let lab: ShimLab;
  before(async () => {
    lab = await ShimLab.open();
  });
  after(async () => {
    await lab[Symbol.asyncDispose]();
  });

  const stateOf = async (id: string, execId = ''): Promise<Status> =>
    (await lab.tasks.state({ id, execId })).status;
  const ended = async (pid: number): Promise<void> => {
    await until(`process ${pid} has ended`, () => !lab.platform.processes.isAlive(pid));
  };

  test('while it runs: everything can still be done, and its end is told once', async () => {
    const id = await lab.run(sleep);
    const { pid } = await lab.tasks.state({ id });
    await lab.replace();
    assert.deepEqual(await lab.tasks.connect({ id }), {
      ...(await lab.tasks.connect({ id })),
      taskPid: pid,
      shimPid: lab.pid,
    });
    const state = await lab.tasks.state({ id });
    assert.deepEqual([state.status, state.pid, state.bundle], [Status.RUNNING, pid, lab.bundle(id)]);
    assert.deepEqual(
      (await lab.tasks.pids({ id })).processes.map((one) => one.pid),
      [pid],
    );
    assert.ok(((await lab.tasks.stats({ id })).stats?.value.byteLength ?? 0) > 0);
    const resources = anyToWire(packJson(jsonTypeUrls.linuxResources, { pids: { limit: 77 } }));
    await lab.tasks.update({ id, resources });
    await lab.tasks.pause({ id });
    assert.equal(await stateOf(id), Status.PAUSED);
    await lab.tasks.resume({ id });
    await lab.addExec(id, 'later', ['/bin/sh', '-c', 'exit 5']);
    await lab.tasks.start({ id, execId: 'later' });
    assert.equal((await lab.tasks.wait({ id, execId: 'later' })).exitStatus, 5);
    await assert.rejects(lab.tasks.delete({ id }), { code: 'Unknown', message: /running process$/ });
    // A second time: what was adopted is adopted again.
    await lab.replace();
    assert.equal(await stateOf(id), Status.RUNNING);
    const waiting = lab.tasks.wait({ id });
    await lab.tasks.kill({ id, signal: SIGKILL });
    assert.equal((await waiting).exitStatus, 137);
    await assert.rejects(lab.tasks.kill({ id, signal: SIGKILL }), (error) => hasCode(error, 'NotFound'));
    assert.equal(await lab.finish(id), 137);
    assert.deepEqual(lab.topics(id), [
      ...['create', 'start', 'paused', 'resumed', 'exec-added', 'exec-started', 'exit later 5'],
      ...['exit init 137', 'delete'],
    ]);
    assert.deepEqual(mountsBelow(lab.bundle(id)), [], 'neither root filesystem nor pinned process is left');
    await until('it is let go of', () => !existsSync(join(lab.root, 'shim/held/shim-lab', id)));
  });

  test('while it is paused: it stays so, and can be resumed or killed', async () => {
    const [first, second] = [await lab.run(sleep), await lab.run(sleep)];
    for (const id of [first, second]) await lab.tasks.pause({ id });
    await lab.replace();
    for (const id of [first, second]) assert.equal(await stateOf(id), Status.PAUSED);
    await lab.tasks.resume({ id: first });
    assert.equal(await stateOf(first), Status.RUNNING);
    for (const id of [first, second]) assert.equal(await lab.finish(id, SIGKILL), 137);
    assert.deepEqual(lab.topics(first), ['create', 'start', 'paused', 'resumed', 'exit init 137', 'delete']);
    assert.deepEqual(lab.topics(second), ['create', 'start', 'paused', 'exit init 137', 'delete']);
  });

  test('a pause and a resume by others meanwhile are told', async () => {
    const id = await lab.run(sleep);
    await lab.kill();
    execFileSync('runc', ['--root', join(lab.root, 'shim/runc/shim-lab'), 'pause', id]);
    await lab.start();
    assert.equal(await stateOf(id), Status.PAUSED);
    assert.equal(await lab.finish(id, SIGKILL), 137);
    assert.deepEqual(lab.topics(id), ['create', 'start', 'paused', 'exit init 137', 'delete']);
  });

  test('between create and start: it can be started, or deleted', async () => {
    const started = await lab.create(['/bin/sh', '-c', 'exit 7']);
    const deleted = await lab.create(sleep);
    await lab.replace();
    assert.equal(await stateOf(started), Status.CREATED);
    await lab.tasks.start({ id: started });
    assert.equal(await lab.finish(started), 7);
    await lab.tasks.delete({ id: deleted });
    await until('the end is told', () => lab.topics(deleted).includes('delete'));
    assert.deepEqual(lab.topics(started), ['create', 'start', 'exit init 7', 'delete']);
    assert.deepEqual(lab.topics(deleted), ['create', 'exit init 137', 'delete']);
  });

  test('with execs: added, running, ended and not deleted', async () => {
    const id = await lab.run(sleep);
    await lab.addExec(id, 'added', ['/bin/sh', '-c', 'exit 3']);
    await lab.addExec(id, 'running', sleep);
    await lab.addExec(id, 'over', ['/bin/sh', '-c', 'exit 9']);
    const { pid } = await lab.tasks.start({ id, execId: 'running' });
    await lab.tasks.start({ id, execId: 'over' });
    await lab.tasks.wait({ id, execId: 'over' });
    await until('it is told', () => lab.topics(id).includes('exit over 9'));
    await lab.replace();
    assert.equal(await stateOf(id, 'added'), Status.CREATED);
    assert.equal(await stateOf(id, 'running'), Status.RUNNING);
    assert.equal(await stateOf(id, 'over'), Status.STOPPED);
    assert.equal((await lab.tasks.wait({ id, execId: 'over' })).exitStatus, 9);
    assert.equal((await lab.tasks.delete({ id, execId: 'over' })).exitStatus, 9);
    const { processes } = await lab.tasks.pids({ id });
    assert.ok(anyFromWire(processes.find((one) => one.pid === pid)?.info) !== undefined);
    await lab.tasks.start({ id, execId: 'added' });
    assert.equal((await lab.tasks.wait({ id, execId: 'added' })).exitStatus, 3);
    await lab.tasks.kill({ id, execId: 'running', signal: SIGTERM });
    assert.equal((await lab.tasks.wait({ id, execId: 'running' })).exitStatus, 143);
    assert.equal(await lab.finish(id, SIGKILL), 137);
    assert.deepEqual(
      lab.topics(id).filter((topic) => topic.startsWith('exit')),
      ['exit over 9', 'exit added 3', 'exit running 143', 'exit init 137'],
    );
  });

  test('ends while no shim is there: their statuses, execs first', async () => {
    const id = await lab.run(['/bin/sh', '-c', 'trap "exit 42" TERM; while :; do sleep 0.05; done']);
    await lab.addExec(id, 'worker', ['/bin/sh', '-c', 'trap "exit 24" TERM; while :; do sleep 0.05; done']);
    const { pid: exec } = await lab.tasks.start({ id, execId: 'worker' });
    const { pid } = await lab.tasks.state({ id });
    await lab.kill();
    // The exec's shell may not have come to its trap yet, so it is asked until it goes.
    await until('both have ended', () => {
      const { processes } = lab.platform;
      const target = [exec, pid].find((one) => processes.isAlive(one));
      if (target !== undefined) processes.kill(target, SIGTERM);
      return target === undefined;
    });
    await lab.start();
    const state = await lab.tasks.state({ id });
    assert.deepEqual([state.status, state.exitStatus], [Status.STOPPED, 42]);
    assert.equal((await lab.tasks.wait({ id, execId: 'worker' })).exitStatus, 24);
    assert.equal(await lab.finish(id), 42);
    assert.deepEqual(lab.topics(id).slice(-3), ['exit worker 24', 'exit init 42', 'delete']);
  });

  test('an exit that the daemon did not take is told by the next shim, with the same time', async () => {
    const id = await lab.run(['/bin/sh', '-c', 'exit 6']);
    const early = await lab.run(['/bin/sh', '-c', 'exit 4']);
    await lab.tasks.wait({ id: early });
    await until('the early one is told', () => lab.topics(early).includes('exit init 4'));
    const late = await lab.run(['/bin/cat'], { stdin: lab.makeFifo('hold'), stdout: '' });
    await lab.tasks.wait({ id });
    await until('the first is told', () => lab.topics(id).includes('exit init 6'));
    await lab.daemonGoes();
    await lab.tasks.closeIO({ id: late, stdin: true });
    const first = await lab.tasks.wait({ id: late });
    assert.ok(!lab.topics(late).includes('exit init 0'));
    await lab.kill({ now: true });
    await lab.daemonComes();
    await lab.start();
    await until('it is told', () => lab.topics(late).includes('exit init 0'));
    assert.deepEqual((await lab.tasks.wait({ id: late })).exitedAt, first.exitedAt);
    for (const [one, status] of [
      [id, 6],
      [early, 4],
      [late, 0],
    ] as const) {
      assert.equal(await lab.finish(one), status);
      assert.deepEqual(lab.topics(one), ['create', 'start', `exit init ${status}`, 'delete']);
    }
  });

  test('what was deleted while the daemon was away is told by the next shim', async () => {
    const id = await lab.run(sleep);
    const other = await lab.run(sleep);
    await lab.addExec(other, 'brief', ['/bin/sh', '-c', 'exit 2']);
    await until('the beginning is told', () => lab.topics(other).includes('exec-added'));
    await lab.daemonGoes();
    await lab.tasks.kill({ id, signal: SIGKILL });
    await lab.tasks.wait({ id });
    await lab.tasks.delete({ id });
    await lab.tasks.start({ id: other, execId: 'brief' });
    await lab.tasks.wait({ id: other, execId: 'brief' });
    await lab.tasks.delete({ id: other, execId: 'brief' });
    await lab.kill({ now: true });
    await lab.daemonComes();
    await lab.start();
    await until('the delete is told', () => lab.topics(id).includes('delete'));
    assert.deepEqual(lab.topics(id), ['create', 'start', 'exit init 137', 'delete']);
    await assert.rejects(lab.tasks.state({ id }), (error) => hasCode(error, 'NotFound'));
    await until('it is let go of', () => !existsSync(join(lab.root, 'shim/held/shim-lab', id)));
    await assert.rejects(lab.tasks.state({ id: other, execId: 'brief' }), (error) =>
      hasCode(error, 'NotFound'),
    );
    assert.equal(await lab.finish(other, SIGKILL), 137);
    const ends = lab.topics(other).filter((topic) => topic.startsWith('exit'));
    assert.deepEqual(ends, ['exit brief 2', 'exit init 137']);
  });

  test('a create in flight comes to its end, and the next shim has it', async () => {
    const runc = lab.makeSlowRunc('slow-create', 'create');
    const id = lab.makeBundle(['/bin/sh', '-c', 'exit 8']);
    const creating = assert.rejects(lab.tasks.create(lab.request(id, { runc: runc.path })));
    await runc.waits();
    await lab.kill();
    await creating;
    runc.go();
    await lab.start();
    assert.equal(await stateOf(id), Status.CREATED);
    await lab.tasks.start({ id });
    assert.equal(await lab.finish(id), 8);
    assert.deepEqual(lab.topics(id), ['create', 'start', 'exit init 8', 'delete']);
  });

  test('a create that died with its shim leaves nothing, and can be tried again', async () => {
    const runc = lab.makeSlowRunc('dead-create', 'create');
    const id = lab.makeBundle(['/bin/true']);
    const creating = assert.rejects(lab.tasks.create(lab.request(id, { runc: runc.path })));
    await runc.waits();
    await lab.kill();
    await creating;
    for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      const words = readIfThere(`/proc/${name}/cmdline`);
      if (words.includes(runc.path)) lab.platform.processes.kill(Number(name), SIGKILL);
    }
    await lab.start();
    await assert.rejects(lab.tasks.state({ id }), (error) => hasCode(error, 'NotFound'));
    assert.deepEqual(mountsBelow(lab.bundle(id)), []);
    await lab.tasks.create(lab.request(id));
    await lab.tasks.start({ id });
    assert.equal(await lab.finish(id), 0);
    assert.deepEqual(lab.topics(id), ['create', 'start', 'exit init 0', 'delete']);
  });

  test('a start in flight: it runs, and that is told', async () => {
    const runc = lab.makeSlowRunc('slow-start', 'start');
    const id = await lab.create(sleep, { runc: runc.path });
    const starting = assert.rejects(lab.tasks.start({ id }));
    await runc.waits();
    await lab.kill();
    await starting;
    runc.go();
    await lab.start();
    assert.equal(await stateOf(id), Status.RUNNING);
    assert.equal(await lab.finish(id, SIGKILL), 137);
    assert.deepEqual(lab.topics(id), ['create', 'start', 'exit init 137', 'delete']);
  });

  test('an exec in flight: it runs, or can be started again', async () => {
    const runc = lab.makeSlowRunc('slow-exec', 'exec');
    const id = await lab.run(sleep, { runc: runc.path });
    await lab.addExec(id, 'flying', sleep);
    const starting = assert.rejects(lab.tasks.start({ id, execId: 'flying' }));
    await runc.waits();
    await lab.kill();
    await starting;
    runc.go();
    await lab.start();
    assert.equal(await stateOf(id, 'flying'), Status.RUNNING);
    await lab.tasks.kill({ id, execId: 'flying', signal: SIGKILL });
    assert.equal((await lab.tasks.wait({ id, execId: 'flying' })).exitStatus, 137);
    assert.equal(await lab.finish(id, SIGKILL), 137);
    assert.deepEqual(lab.topics(id), [
      ...['create', 'start', 'exec-added', 'exec-started', 'exit flying 137', 'exit init 137', 'delete'],
    ]);
  });

  test('output: not a byte is lost while shims come and go, and its end comes', async () => {
    const stdout = lab.makeFifo('flow');
    const reader = pipeReader(lab.openReader(stdout));
    const chunks: Buffer[] = [];
    const read = (async (): Promise<void> => {
      for await (const chunk of reader) chunks.push(chunk as Buffer);
    })();
    const id = await lab.run(
      ['/bin/sh', '-c', 'i=0; while [ $i -lt 300 ]; do seq 1 100; i=$((i+1)); usleep 5000; done'],
      { stdout },
    );
    await until('it writes', () => chunks.length > 0);
    await lab.replace();
    assert.equal(await stateOf(id), Status.RUNNING);
    await lab.replace();
    await read;
    const once = Array.from({ length: 100 }, (_, at) => `${at + 1}\n`).join('');
    assert.equal(Buffer.concat(chunks).toString(), once.repeat(300));
    assert.equal(await lab.finish(id), 0);
  });

  test('output that nobody reads while no shim is there neither ends its writer nor is lost', async () => {
    const stdout = lab.makeFifo('unread');
    const first = lab.openReader(stdout);
    const stdin = lab.makeFifo('unread-in');
    const id = await lab.run(['/bin/sh', '-c', 'read x; seq 1 50; : >/dev/written; read y; echo end'], {
      stdin,
      stdout,
    });
    const { pid } = await lab.tasks.state({ id });
    // The client holds the input open, and has left the output.
    const input = openSync(stdin, 'w');
    closeSync(first);
    await lab.kill();
    writeFileSync(input, 'go\n');
    await until('it has written', () => existsSync(`/proc/${pid}/root/dev/written`));
    await lab.start();
    const second = pipeReader(lab.openReader(stdout));
    let text = '';
    second.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    writeFileSync(input, 'on\n');
    assert.equal((await lab.tasks.wait({ id })).exitStatus, 0);
    await until('the rest has come', () => text.endsWith('end\n'));
    assert.equal(text, `${Array.from({ length: 50 }, (_, at) => `${at + 1}\n`).join('')}end\n`);
    second.destroy();
    closeSync(input);
    assert.equal(await lab.finish(id), 0);
  });

  test('input goes on over clients that come and go, and ends by CloseIO of the next shim', async () => {
    const stdin = lab.makeFifo('in');
    const stdout = lab.makeFifo('out');
    const out = lab.openReader(stdout);
    const id = await lab.run(['/bin/cat'], { stdin, stdout });
    const held = openSync(stdin, 'w');
    await lab.replace();
    closeSync(held);
    writeFileSync(stdin, 'one\n');
    writeFileSync(stdin, 'two\n');
    await lab.tasks.closeIO({ id, stdin: true });
    assert.equal((await lab.tasks.wait({ id })).exitStatus, 0);
    assert.equal(readFileSync(out, 'utf8'), 'one\ntwo\n');
    closeSync(out);
    assert.equal(await lab.finish(id), 0);
  });

  test('a terminal drops, and the end of its process is told', async () => {
    const stdout = lab.makeFifo('tty');
    const out = lab.openReader(stdout);
    const id = await lab.run(['/bin/sh', '-c', 'trap "" HUP; exec sleep 1000'], { terminal: true, stdout });
    await lab.replace();
    const state = await lab.tasks.state({ id });
    assert.ok(
      state.status === Status.RUNNING || state.exitStatus === 129,
      'it lives, or died of the hang-up',
    );
    await lab.tasks.resizePty({ id, width: 80, height: 24 });
    if (state.status === Status.RUNNING) await lab.tasks.kill({ id, signal: SIGKILL });
    assert.ok([129, 137].includes(await lab.finish(id)));
    closeSync(out);
  });

  test('kills for want of memory are told when they happen, each by one shim only', async () => {
    const hungry = 'until [ -e /dev/go ]; do usleep 10000; done; rm /dev/go; tail /dev/zero';
    const id = await lab.run(['/bin/sh', '-c', `while :; do ${hungry}; done`], { memoryBytes: 16 << 20 });
    const { pid } = await lab.tasks.state({ id });
    const kills = (): number => lab.topics(id).filter((topic) => topic === 'oom').length;
    const noted = (): number | undefined => loadContainer(lab.bundle(id))?.oomKills;
    const go = (): void => writeFileSync(`/proc/${pid}/root/dev/go`, '');
    go();
    await until('the first kill is told', () => kills() === 1);
    await until('that is noted', () => noted() === 1);
    await lab.replace();
    assert.equal(await stateOf(id), Status.RUNNING);
    go();
    await until('the second kill is told', () => kills() === 2);
    await until('that is noted', () => noted() === 2);
    await lab.kill();
    go();
    await until('the third kill has happened', () => !existsSync(`/proc/${pid}/root/dev/go`));
    await lab.start();
    await until('the third kill is told', () => kills() === 3);
    assert.equal(await lab.finish(id, SIGKILL), 137);
    assert.deepEqual(lab.topics(id), ['create', 'start', 'oom', 'oom', 'oom', 'exit init 137', 'delete']);
  });

  test('a container that waits to be restored still does', async () => {
    const runc = (await makeRuncStandIn(join(lab.root, 'stand-in'))).path;
    const dumped = await lab.run(sleep, { runc });
    const checkpoint = join(lab.root, 'dump');
    await lab.tasks.checkpoint({ id: dumped, path: checkpoint });
    assert.equal(await lab.finish(dumped, SIGKILL), 137);
    const id = lab.makeBundle(['/bin/sh', '-c', 'exit 11']);
    await lab.tasks.create({ ...lab.request(id, { runc }), checkpoint });
    await lab.replace();
    const state = await lab.tasks.state({ id });
    assert.deepEqual([state.status, state.pid], [Status.CREATED, 0]);
    await lab.tasks.start({ id });
    assert.equal(await lab.finish(id), 11);
    assert.deepEqual(lab.topics(id), ['create', 'start', 'exit init 11', 'delete']);
  });

  test('SIGUSR1: what it holds and what it is stuck in stands in its log', async () => {
    const runc = lab.makeSlowRunc('stuck', 'pause');
    const id = await lab.run(sleep, { runc: runc.path });
    const pausing = lab.tasks.pause({ id });
    await runc.waits();
    lab.platform.processes.kill(lab.pid, SIGUSR1);
    const line = await untilLine('state of the shim');
    assert.match(line, new RegExp(`\\\\"id\\\\":\\\\"shim-lab/${id}\\\\"`));
    assert.match(line, /\\"method\\":\\"pause\\"/);
    assert.match(line, /\\"ageMs\\":\d+/);
    runc.go();
    await pausing;
    assert.equal(await lab.finish(id, SIGKILL), 137);
  });

  const untilLine = async (part: string): Promise<string> => {
    let line: string | undefined;
    await until(`the log has ${part}`, () => {
      line = lab.log.split('\n').find((one) => one.includes(part));
      return line !== undefined;
    });
    return line as string;
  };

  test('50 containers: all are taken over', async (t) => {
    const ids = await Promise.all(Array.from({ length: 50 }, () => lab.run(sleep)));
    await lab.kill();
    const startMs = performance.now();
    await lab.start();
    t.diagnostic(`ready after ${Math.round(performance.now() - startMs)} ms, run from source`);
    const last = lab.log.split('\n').findLast((line) => line.includes('took over')) as string;
    t.diagnostic(last);
    assert.match(last, /found=50 adopted=50/);
    assert.deepEqual(
      await Promise.all(ids.map((id) => stateOf(id))),
      ids.map(() => Status.RUNNING),
    );
    assert.deepEqual(
      await Promise.all(ids.map((id) => lab.finish(id, SIGKILL))),
      ids.map(() => 137),
    );
    for (const id of ids) assert.deepEqual(lab.topics(id), ['create', 'start', 'exit init 137', 'delete']);
  });

  test('under a foreign daemon, the start of another of the group takes the first one over', async () => {
    const annotations = { 'io.kubernetes.cri.sandbox-id': 'pod' };
    const [first, second] = [0, 1].map(() => lab.makeBundle(sleep, { annotations })) as [string, string];
    const start = (id: string): string => {
      const words = ['-namespace', 'shim-lab', '-id', id, '-address', join(lab.root, 'foreign'), 'start'];
      const program = new URL('../../src/shim/main.ts', import.meta.url).pathname;
      return execFileSync(process.execPath, [program, ...words], {
        cwd: lab.bundle(id),
        env: lab.environment,
        input: '',
      }).toString();
    };
    const address = start(first);
    {
      await using connection = await connectTtrpc(address, { namespace: 'shim-lab' });
      const tasks = connection.client(Task);
      await tasks.create(lab.request(first));
      await tasks.start({ id: first });
      const { shimPid } = await tasks.connect({ id: first });
      lab.platform.processes.kill(shimPid, SIGKILL);
      await ended(shimPid);
    }
    assert.equal(start(second), address);
    await using connection = await connectTtrpc(address, { namespace: 'shim-lab' });
    const tasks = connection.client(Task);
    lab.alsoKill((await tasks.connect({ id: first })).shimPid);
    assert.equal((await tasks.state({ id: first })).status, Status.RUNNING);
    await tasks.kill({ id: first, signal: SIGKILL });
    assert.equal((await tasks.wait({ id: first })).exitStatus, 137);
    await tasks.delete({ id: first });
    await tasks.shutdown({ now: true });
  });
});

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
