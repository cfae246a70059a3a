/** The task API over real runc (needs root): processes, streams, exits and the order of events. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { hasCode } from '../base/errors.ts';
import { silentLogger } from '../base/logger.ts';
import { makeSpec } from '../oci/default-spec.ts';
import type { Platform } from '../platform/platform.ts';
import { selectPlatform } from '../platform/select.ts';
import { anyFromWire, anyToWire, jsonTypeUrls, packJson, unpackAny } from '../wire/any.ts';
import { TaskExitSchema } from '../wire/gen/containerd/events/task_pb.js';
import { Task as TaskV2 } from '../wire/gen/containerd/runtime/task/v2/shim_pb.js';
import { Task } from '../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Events } from '../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import type { Envelope } from '../wire/gen/containerd/types/event_pb.js';
import { Status } from '../wire/gen/containerd/types/task/task_pb.js';
import { pipeReader } from '../wire/pipe.ts';
import { type Client, serve } from '../wire/service.ts';
import { connectTtrpc, type TtrpcConnection } from '../wire/ttrpc/client.ts';
import { TtrpcServer } from '../wire/ttrpc/server.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { EventPublisher } from './event-publisher.ts';
import { HeldDirectory } from './held-directory.ts';
import { Shim } from './shim.ts';
import { taskServices } from './task-service.ts';

const namespace = 'shim-test';
const applets = ['sh', 'cat', 'echo', 'sleep', 'true', 'seq', 'tail', 'tty', 'stty'];
const SIGKILL = 9;
const SIGTERM = 15;

interface World extends AsyncDisposable {
  readonly root: string;
  readonly platform: Platform;
  readonly tasks: Client<typeof Task>;
  readonly connection: TtrpcConnection;
  readonly events: Envelope[];
  /** Topics of one container, in the order in which they arrived; the exit with the process's id. */
  topics(id: string): string[];
  arrived(check: () => boolean): Promise<void>;
}

function makeRootfs(path: string): void {
  for (const folder of ['bin', 'proc', 'dev', 'sys', 'tmp', 'run', 'etc'])
    mkdirSync(join(path, folder), { recursive: true });
  copyFileSync('/bin/busybox', join(path, 'bin/busybox'));
  for (const applet of applets) symlinkSync('busybox', join(path, 'bin', applet));
}

async function makeWorld(): Promise<World> {
  const root = mkdtempSync(join(tmpdir(), 'gantry-shim-'));
  makeRootfs(join(root, 'image'));
  const platform = await selectPlatform();
  platform.processes.becomeSubreaper();
  const events: Envelope[] = [];
  const listening = new Set<() => void>();
  const daemon = new TtrpcServer({
    log: silentLogger,
    services: [
      serve(Events, {
        forward: async (_ctx, { envelope }) => {
          events.push(envelope as Envelope);
          for (const told of listening) told();
          return {};
        },
      }),
    ],
  });
  const home = await UnixListener.listen(platform, join(root, 'events'));
  daemon.attach(home);
  const publisher = new EventPublisher({
    connect: (signal) => connectTtrpc(join(root, 'events'), { signal }),
    log: silentLogger,
  });
  const held = await HeldDirectory.open(platform, join(root, 'held'));
  const shim = new Shim(
    { platform, events: publisher, log: silentLogger, held, onIdle: () => {} },
    { runcRoot: join(root, 'runc'), graceMs: 0, namespace: '' },
  );
  const server = new TtrpcServer({ services: taskServices(shim), log: silentLogger });
  const listener = await UnixListener.listen(platform, join(root, 'shim'));
  server.attach(listener);
  const connection = await connectTtrpc(join(root, 'shim'), { namespace });
  const topics = (id: string): string[] =>
    events.flatMap(({ topic, event }) => {
      const value = event as NonNullable<typeof event>;
      if (!Buffer.from(value.value).includes(id)) return [];
      return [topic === '/tasks/exit' ? `exit ${unpackAny(TaskExitSchema, value).id}` : topic.slice(7)];
    });
  return {
    root,
    platform,
    tasks: connection.client(Task),
    connection,
    events,
    topics,
    arrived: async (check) => {
      while (!check()) {
        await new Promise<void>((resolve) => {
          const told = (): void => {
            listening.delete(told);
            resolve();
          };
          listening.add(told);
        });
      }
    },
    [Symbol.asyncDispose]: async () => {
      await connection[Symbol.asyncDispose]();
      await listener.close();
      await server.shutdown(0);
      await publisher[Symbol.asyncDispose]();
      await home.close();
      await daemon.shutdown(0);
      // A shim that was never asked to stop waits for its first container.
      shim.shutdown();
      held[Symbol.dispose]();
      platform.mounts.unmountAll(root, { lazy: true });
      rmSync(root, { recursive: true, force: true });
    },
  };
}

const skip = process.getuid?.() === 0 ? false : 'needs root: it runs containers by runc';

describe('the task API over runc, as root', { skip }, () => {
  let world: World;
  let made = 0;

  before(async () => {
    world = await makeWorld();
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  interface Made {
    readonly id: string;
    readonly bundle: string;
    readonly pid: number;
    /** Reader of a FIFO that was given as stdout or stderr. */
    readonly output: Promise<string>;
    readonly errors: Promise<string>;
  }

  function makeBundle(args: readonly string[], terminal: boolean): { id: string; bundle: string } {
    made += 1;
    const id = `c${made}x`;
    const bundle = join(world.root, id);
    mkdirSync(join(bundle, 'rootfs'), { recursive: true });
    const spec = makeSpec({ id, namespace, args, terminal });
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
    return { id, bundle };
  }

  function readFifo(path: string): Promise<string> {
    world.platform.files.makeFifo(path, 0o700);
    return read(path);
  }

  async function read(path: string): Promise<string> {
    const file = await open(path, 'r');
    try {
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  }

  const image = (): { type: string; source: string; options: string[] } => ({
    type: 'bind',
    source: join(world.root, 'image'),
    options: ['rbind', 'ro'],
  });

  async function make(
    args: readonly string[],
    io: { stdin?: string; stdout?: string; stderr?: string; terminal?: boolean } = {},
  ): Promise<Made> {
    const { id, bundle } = makeBundle(args, io.terminal ?? false);
    const piped = io.stdout === undefined;
    const stdout = io.stdout ?? join(bundle, 'out');
    const stderr = io.stderr ?? (io.terminal === true || !piped ? '' : join(bundle, 'err'));
    const output = piped ? readFifo(stdout) : Promise.resolve('');
    const errors = stderr === '' ? Promise.resolve('') : readFifo(stderr);
    if (io.stdin !== undefined) world.platform.files.makeFifo(join(bundle, io.stdin), 0o700);
    const { pid } = await world.tasks.create({
      id,
      bundle,
      rootfs: [image()],
      stdin: io.stdin === undefined ? '' : join(bundle, io.stdin),
      stdout,
      stderr,
      terminal: io.terminal ?? false,
    });
    return { id, bundle, pid, output, errors };
  }

  async function finish(id: string): Promise<number> {
    const { exitStatus } = await world.tasks.wait({ id });
    const deleted = await world.tasks.delete({ id });
    assert.equal(deleted.exitStatus, exitStatus);
    await world.arrived(() => world.topics(id).includes('delete'));
    return exitStatus;
  }

  async function exec(id: string, execId: string, args: readonly string[]): Promise<void> {
    const spec = packJson(jsonTypeUrls.process, {
      args,
      cwd: '/',
      env: ['PATH=/bin'],
      user: { uid: 0, gid: 0 },
    });
    await world.tasks.exec({ id, execId, spec: anyToWire(spec) });
  }

  test('output, exit code and events of a short life', async () => {
    const { id, bundle, pid, output, errors } = await make([
      '/bin/sh',
      '-c',
      'echo out; echo err >&2; exit 7',
    ]);
    assert.equal((await world.tasks.state({ id })).status, Status.CREATED);
    assert.equal((await world.tasks.start({ id })).pid, pid);
    assert.equal(await output, 'out\n');
    assert.equal(await errors, 'err\n');
    assert.equal((await world.tasks.wait({ id })).exitStatus, 7);
    const state = await world.tasks.state({ id });
    assert.deepEqual([state.status, state.exitStatus, state.pid], [Status.STOPPED, 7, pid]);
    assert.deepEqual((await world.tasks.pids({ id })).processes, [], 'a restarted daemon must not lose it');
    assert.equal(await finish(id), 7);
    assert.deepEqual(world.topics(id), ['create', 'start', `exit ${id}`, 'delete']);
    assert.ok(
      !readFileSync('/proc/self/mountinfo', 'utf8').includes(bundle),
      'the root filesystem is unmounted',
    );
    await assert.rejects(world.tasks.state({ id }), (error) => hasCode(error, 'NotFound'));
  });

  test('a program that is not there: the reason of runc, and nothing left', async () => {
    const { id, bundle } = makeBundle(['/bin/nope'], false);
    const request = { id, bundle, rootfs: [image()] };
    await assert.rejects(world.tasks.create(request), /OCI runtime create failed: .*\/bin\/nope/);
    assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(bundle));
    // The name is free again.
    writeFileSync(
      join(bundle, 'config.json'),
      JSON.stringify(makeSpec({ id, namespace, args: ['/bin/true'] })),
    );
    await world.tasks.create(request);
    await assert.rejects(world.tasks.create(request), (error) => hasCode(error, 'AlreadyExists'));
    await world.tasks.start({ id });
    assert.equal(await finish(id), 0);
  });

  test('input stays open over clients that come and go, and ends after CloseIO', async () => {
    const { id, bundle, output } = await make(['/bin/cat'], { stdin: 'in' });
    await world.tasks.start({ id });
    for (const text of ['one\n', 'two\n']) {
      const fd = openSync(join(bundle, 'in'), constants.O_WRONLY | constants.O_NONBLOCK);
      writeFileSync(fd, text);
      closeSync(fd);
    }
    assert.equal((await world.tasks.state({ id })).status, Status.RUNNING);
    await world.tasks.closeIO({ id, stdin: true });
    assert.equal(await output, 'one\ntwo\n');
    assert.equal(await finish(id), 0);
  });

  test('a client that goes away does not end the writer, and another takes up where it stopped', async () => {
    const fifo = join(world.root, 'again');
    world.platform.files.makeFifo(fifo, 0o700);
    const reader = (): number => openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const first = pipeReader(reader());
    const { id } = await make(['/bin/sh', '-c', 'echo one; cat; echo two'], { stdin: 'in', stdout: fifo });
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
    assert.equal(await finish(id), 0);
  });

  test('a client that comes late still gets everything', async () => {
    const fifo = join(world.root, 'late');
    world.platform.files.makeFifo(fifo, 0o700);
    const { id } = await make(['/bin/sh', '-c', 'echo early; cat'], { stdin: 'in', stdout: fifo });
    await world.tasks.start({ id });
    await using late = await open(fifo, 'r');
    await world.tasks.closeIO({ id, stdin: true });
    assert.equal(await late.readFile('utf8'), 'early\n');
    assert.equal(await finish(id), 0);
  });

  test('log files are appended to, by both streams', async () => {
    const log = join(world.root, 'logs', 'x.log');
    for (const round of ['1', '2']) {
      const { id } = await make(['/bin/sh', '-c', `echo out${round}; echo err${round} >&2`], {
        stdout: `file://${log}`,
      });
      await world.tasks.start({ id });
      assert.equal(await finish(id), 0);
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
    const { id } = await make(['/bin/sh', '-c', 'echo out; echo err >&2'], {
      stdout: `binary://${program}?k=v`,
    });
    await world.tasks.start({ id });
    assert.equal(await finish(id), 0);
    assert.equal(readFileSync(log, 'utf8'), `k v ${namespace} ${id}\nout\nerr\n`);
  });

  test('a terminal: its size, every line, and the end of its output before it is deleted', async () => {
    const { id, output } = await make(['/bin/sh', '-c', 'cat; stty size; seq 20000; echo last; exit 3'], {
      terminal: true,
      stdin: 'in',
    });
    await world.tasks.start({ id });
    await world.tasks.resizePty({ id, width: 93, height: 31 });
    const fd = openSync(join(world.root, id, 'in'), constants.O_WRONLY | constants.O_NONBLOCK);
    writeFileSync(fd, '\x04');
    closeSync(fd);
    assert.equal((await world.tasks.wait({ id })).exitStatus, 3);
    const lines = (await output).split('\r\n');
    assert.equal(await finish(id), 3);
    assert.ok(lines[0]?.endsWith('31 93'), String(lines[0]));
    assert.deepEqual(lines.slice(-3), ['20000', 'last', '']);
    assert.equal(lines.length, 20_003);
  });

  test('execs: codes, failures, and their exits before that of init', async () => {
    const { id } = await make(['/bin/sleep', '1000'], { stdout: '' });
    await world.tasks.start({ id });
    await exec(id, 'short', ['/bin/sh', '-c', 'exit 9']);
    await assert.rejects(exec(id, 'short', ['/bin/true']), (error) => hasCode(error, 'AlreadyExists'));
    await world.tasks.start({ id, execId: 'short' });
    assert.equal((await world.tasks.wait({ id, execId: 'short' })).exitStatus, 9);
    assert.equal((await world.tasks.delete({ id, execId: 'short' })).exitStatus, 9);

    await exec(id, 'absent', ['/bin/nope']);
    await assert.rejects(
      world.tasks.start({ id, execId: 'absent' }),
      /OCI runtime exec failed: .*\/bin\/nope/,
    );
    await world.tasks.delete({ id, execId: 'absent' });

    await exec(id, 'long', ['/bin/sleep', '1000']);
    const { pid } = await world.tasks.start({ id, execId: 'long' });
    const { processes } = await world.tasks.pids({ id });
    assert.equal(processes.length, 2);
    assert.ok(anyFromWire(processes.find((one) => one.pid === pid)?.info) !== undefined);
    const running = { code: 'Unknown', message: /cannot delete a running process$/ };
    await assert.rejects(world.tasks.delete({ id, execId: 'long' }), running);
    await assert.rejects(world.tasks.delete({ id }), running);
    await world.tasks.kill({ id, signal: SIGKILL });
    assert.equal((await world.tasks.wait({ id, execId: 'long' })).exitStatus, 137);
    assert.equal(await finish(id), 137);
    await assert.rejects(world.tasks.kill({ id, signal: SIGKILL }), (error) => hasCode(error, 'NotFound'));
    assert.deepEqual(world.topics(id), [
      'create',
      'start',
      'exec-added',
      'exec-started',
      'exit short',
      'exec-added',
      'exec-added',
      'exec-started',
      'exit long',
      `exit ${id}`,
      'delete',
    ]);
  });

  test('pause, resume, statistics, and a kill of what is frozen', async () => {
    const { id } = await make(['/bin/sleep', '1000'], { stdout: '' });
    await world.tasks.start({ id });
    await world.tasks.pause({ id });
    assert.equal((await world.tasks.state({ id })).status, Status.PAUSED);
    await world.tasks.resume({ id });
    assert.equal((await world.tasks.state({ id })).status, Status.RUNNING);
    const { stats } = await world.tasks.stats({ id });
    assert.match(stats?.typeUrl ?? '', /^io\.containerd\.cgroups\.v[12]\.Metrics$/);
    assert.ok((stats?.value.byteLength ?? 0) > 0);
    await world.tasks.pause({ id });
    await world.tasks.kill({ id, signal: SIGKILL });
    assert.equal(await finish(id), 137);
    assert.deepEqual(world.topics(id), [
      'create',
      'start',
      'paused',
      'resumed',
      'paused',
      `exit ${id}`,
      'delete',
    ]);
  });

  test('a container that was never started is deleted, with an exit', async () => {
    const { id, pid } = await make(['/bin/true'], { stdout: '' });
    assert.equal((await world.tasks.delete({ id })).pid, pid);
    await world.arrived(() => world.topics(id).includes('delete'));
    assert.deepEqual(world.topics(id), ['create', `exit ${id}`, 'delete']);
  });

  test('version 2 of the API answers alike', async () => {
    const { id, pid } = await make(['/bin/sleep', '1000'], { stdout: '' });
    const old = world.connection.client(TaskV2);
    assert.deepEqual((await old.connect({ id })).taskPid, pid);
    await old.start({ id });
    await old.kill({ id, signal: SIGTERM, all: true });
    await old.kill({ id, signal: SIGKILL });
    assert.equal(await finish(id), 137);
  });

  test('50 containers in one process, each with its own code and one exit', {
    timeout: 120_000,
  }, async () => {
    const codes = Array.from({ length: 50 }, (_, code) => code);
    const ids = await Promise.all(
      codes.map(async (code) => {
        const { id } = await make(['/bin/sh', '-c', `exit ${code}`], { stdout: '' });
        await world.tasks.start({ id });
        return id;
      }),
    );
    assert.deepEqual(await Promise.all(ids.map((id) => finish(id))), codes);
    for (const id of ids) assert.deepEqual(world.topics(id), ['create', 'start', `exit ${id}`, 'delete']);
  });
});
