/** Tasks over real shim processes and runc (needs root): sharing, death, restart, failures half way. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { mkdtemp, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AnyValue } from '../../base/any-value.ts';
import {
  background,
  type Context,
  type NamespacedContext,
  withNamespace,
  withSignal,
} from '../../base/context.ts';
import { ContainerdError } from '../../base/errors.ts';
import { type ContainerId, parseContainerId, parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import { makeSpec } from '../../oci/default-spec.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { anyFromWire, jsonTypeUrls, packAny, packJson, unpackAny } from '../../wire/any.ts';
import { TaskExitSchema } from '../../wire/gen/containerd/events/task_pb.js';
import { Task } from '../../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Events } from '../../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import { OptionsSchema } from '../../wire/gen/containerd/types/runc/options/oci_pb.js';
import { serve } from '../../wire/service.ts';
import { connectTtrpc } from '../../wire/ttrpc/client.ts';
import { TtrpcServer } from '../../wire/ttrpc/server.ts';
import { UnixListener } from '../../wire/unix-listener.ts';
import type { Container, ContainerStore } from '../containers/container-store.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { Envelope, EventExchange } from '../events/event-exchange.ts';
import { Deadlines } from './calls/deadlines.ts';
import { ExitJournal } from './loss/exit-journal.ts';
import { TaskEventExchange } from './loss/task-events.ts';
import { ShimTaskManager } from './shim-task-manager.ts';
import type { CreateTask } from './task-manager.ts';

const shimCgroup = '/gantry-manager-test';
const log = silentLogger;

interface Heard {
  readonly topic: string;
  readonly event: AnyValue;
}

/** What subscribers would hear: of the shims, which forward over the socket, and of the manager. */
class HeardEvents implements EventExchange {
  readonly heard: Heard[] = [];

  async publish(_ctx: Context, topic: string, event: AnyValue): Promise<void> {
    this.heard.push({ topic, event });
  }

  async forward(_ctx: Context, { topic, event }: Envelope): Promise<void> {
    this.heard.push({ topic, event });
  }

  async *subscribe(): AsyncGenerator<Envelope> {}

  /** Containers and statuses of exits of inits, in the order in which they were told. */
  exits(): [id: string, status: number][] {
    return this.heard
      .filter(({ topic }) => topic === '/tasks/exit')
      .map(({ event }) => unpackAny(TaskExitSchema, event))
      .filter(({ id, containerId }) => id === containerId)
      .map(({ containerId, exitStatus }) => [containerId, exitStatus]);
  }
}

/** Containers without a database: only `get` is asked for. */
class Containers {
  readonly records = new Map<string, Container>();

  async get(ctx: NamespacedContext, id: ContainerId): Promise<Container> {
    const record = this.records.get(`${ctx.namespace}/${id}`);
    if (record === undefined)
      throw new ContainerdError('NotFound', `container "${id}" in namespace "${ctx.namespace}"`);
    return record;
  }
}

const isOneOf =
  (tasks: readonly { readonly containerId: string }[]) =>
  ([id]: readonly [string, number]): boolean =>
    tasks.some(({ containerId }) => containerId === id);

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await nextTurn();
  }
}

/** Nothing here is checkpointed into it. */
const noContent = {} as ContentStore;

describe('tasks over shims and runc, as root', { skip: process.getuid?.() !== 0 }, () => {
  let platform: Platform;
  let directory: string;
  let listener: UnixListener;
  let server: TtrpcServer;
  let manager: ShimTaskManager;
  const own = new HeardEvents();
  let events: TaskEventExchange;
  const containers = new Containers();
  const here = withNamespace(background(log), parseNamespace('manager-test'));
  const there = withNamespace(background(log), parseNamespace('manager-test.2'));
  const shimPids = new Set<number>();
  let made = 0;

  const makeManager = (): ShimTaskManager =>
    new ShimTaskManager(
      {
        containers: containers as unknown as ContainerStore,
        content: noContent,
        events,
        exits: events.exits,
        platform,
        log,
      },
      {
        root: join(directory, 'root'),
        state: join(directory, 'state'),
        shimDirectory: join(directory, 'shims'),
        sharing: 'node',
        deadlines: new Deadlines(),
        shim: {
          file: process.execPath,
          args: ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../../shim/main.ts')],
        },
        daemon: {
          grpcAddress: join(directory, 'grpc'),
          ttrpcAddress: join(directory, 'ttrpc'),
          publishBinary: '/bin/true',
          version: 'test',
        },
        besideDir: '/absent',
      },
    );

  before(async () => {
    platform = await selectPlatform();
    directory = await mkdtemp(join(tmpdir(), 'gantry-manager-'));
    events = new TaskEventExchange({ exchange: own, journal: new ExitJournal(join(directory, 'journal')) });
    for (const path of ['root', 'state', 'image/bin', 'image/proc', 'image/dev', 'image/sys', 'image/run'])
      mkdirSync(join(directory, path), { recursive: true, mode: 0o755 });
    copyFileSync('/bin/busybox', join(directory, 'image/bin/busybox'));
    for (const applet of ['sh', 'sleep', 'true'])
      symlinkSync('busybox', join(directory, 'image/bin', applet));
    server = new TtrpcServer({
      log,
      services: [
        serve(Events, {
          forward: async (ctx, { envelope }) => {
            const event = anyFromWire(envelope?.event);
            assert.ok(envelope !== undefined && event !== undefined);
            const { topic } = envelope;
            const namespace = parseNamespace(envelope.namespace);
            await events.forward(ctx, { timestamp: now(), namespace, topic, event });
            return {};
          },
        }),
      ],
    });
    listener = await UnixListener.listen(platform, join(directory, 'ttrpc'));
    server.attach(listener);
    manager = makeManager();
  });

  after(async () => {
    await manager?.[Symbol.asyncDispose]();
    await listener?.close();
    await server?.shutdown(0);
    for (const pid of shimPids) if (platform.processes.isAlive(pid)) platform.processes.kill(pid, SIGKILL);
    for (const { fileSystemType, mountPoint } of platform.mounts.list())
      if (fileSystemType.startsWith('cgroup')) await rmdir(join(mountPoint, shimCgroup)).catch(() => {});
    platform.mounts.unmountAll(directory, { lazy: true });
    await rm(directory, { recursive: true, force: true });
  });

  const inCgroup = (): AnyValue => packAny(OptionsSchema, { shimCgroup });

  function record(
    ctx: NamespacedContext,
    args: readonly string[],
    runtime: Partial<Container['runtime']> = {},
  ): CreateTask {
    made += 1;
    const id = parseContainerId(`m${made}`);
    const spec = packJson(jsonTypeUrls.spec, makeSpec({ id, namespace: ctx.namespace, args }));
    containers.records.set(`${ctx.namespace}/${id}`, {
      id,
      labels: {},
      image: '',
      runtime: { name: 'io.containerd.runc.v2', options: undefined, ...runtime },
      spec,
      snapshotter: '',
      snapshotKey: '',
      extensions: {},
      sandbox: '',
      createdAt: now(),
      updatedAt: now(),
    });
    return {
      containerId: id,
      rootfs: [{ type: 'bind', source: join(directory, 'image'), target: '', options: ['rbind', 'ro'] }],
      io: { stdin: '', stdout: '', stderr: '', terminal: false },
      checkpoint: undefined,
      options: undefined,
      runtimePath: '',
      taskApiAddress: '',
      taskApiVersion: 0,
    };
  }

  async function run(
    ctx: NamespacedContext,
    args: readonly string[],
    runtime: Partial<Container['runtime']> = {},
  ): Promise<{ containerId: ContainerId; pid: number }> {
    const request = record(ctx, args, runtime);
    const { pid } = await manager.create(ctx, request);
    await manager.start(ctx, request);
    return { containerId: request.containerId, pid };
  }

  const sharedSocket = (): string => join(directory, 'shims/shim/sock');

  /** The shim that holds a container, asked past the manager. */
  async function shimOf(ctx: NamespacedContext, id: ContainerId, address = sharedSocket()): Promise<number> {
    await using connection = await connectTtrpc(address, { namespace: ctx.namespace });
    const { shimPid } = await connection.client(Task).connect({ id });
    shimPids.add(shimPid);
    return shimPid;
  }

  async function remove(ctx: NamespacedContext, containerId: ContainerId): Promise<number> {
    await manager.kill(ctx, { containerId }, SIGKILL, { all: true }).catch(() => {});
    await manager.wait(ctx, { containerId });
    return (await manager.delete(ctx, containerId)).exitStatus;
  }

  const bundleOf = (ctx: NamespacedContext, id: string): string =>
    join(directory, 'state', ctx.namespace, id);

  function addressOf(ctx: NamespacedContext, id: ContainerId): string {
    const text = readFileSync(join(bundleOf(ctx, id), 'bootstrap.json'), 'utf8');
    return (JSON.parse(text) as { address: string }).address;
  }

  test('containers of two namespaces share one shim, and two may bear one id', async () => {
    const first = await run(here, ['sleep', '1000']);
    made -= 1;
    const second = await run(there, ['sleep', '1000']);
    assert.equal(first.containerId, second.containerId);
    assert.equal(await shimOf(here, first.containerId), await shimOf(there, second.containerId));
    assert.deepEqual(
      (await manager.list(here)).map(({ pid, status }) => [pid, status]),
      [[first.pid, 'running']],
    );
    assert.equal(await remove(here, first.containerId), 137);
    assert.equal((await manager.state(there, second)).status, 'running');
    assert.equal(await remove(there, second.containerId), 137);
    assert.ok(!existsSync(bundleOf(here, first.containerId)));
    await assert.rejects(manager.state(here, first), { code: 'NotFound', message: 'task m1 not found' });
  });

  test('words of containerd for what is there already, and for what is not', async () => {
    const { containerId } = await run(here, ['sleep', '1000']);
    await assert.rejects(manager.create(here, { ...record(here, ['true']), containerId }), {
      code: 'AlreadyExists',
      message: `task ${containerId}`,
    });
    await remove(here, containerId);
    const absent = { ...record(here, ['true']), containerId: parseContainerId('absent') };
    await assert.rejects(manager.create(here, absent), {
      code: 'NotFound',
      message: 'container "absent" in namespace "manager-test"',
    });
    await assert.rejects(manager.create(here, record(here, ['true'], { name: 'io.containerd.absent.v9' })), {
      code: 'Unknown',
      message: /^failed to start shim: failed to resolve runtime path: runtime "io\.containerd\.absent\.v9"/,
    });
  });

  test('a create that runc refuses leaves nothing, and the shim goes on', async () => {
    const request = record(here, ['no-such-program']);
    await assert.rejects(manager.create(here, request), {
      code: 'Unknown',
      message:
        /^failed to create shim task: OCI runtime create failed: runc create failed: .*no-such-program/s,
    });
    assert.ok(!existsSync(bundleOf(here, request.containerId)));
    assert.deepEqual(await manager.list(here), []);
    await remove(here, (await run(here, ['sleep', '1000'])).containerId);
  });

  test('a caller that leaves during a create leaves no container behind', async () => {
    const request = record(here, ['sleep', '1000']);
    const left = new AbortController();
    const creating = manager.create(withSignal(here, left.signal), request);
    await until('the shim is at it', () =>
      existsSync(join(bundleOf(here, request.containerId), 'bootstrap.json')),
    );
    left.abort();
    await assert.rejects(creating, { code: 'Canceled' });
    assert.deepEqual(await manager.list(here), []);
    assert.ok(!existsSync(bundleOf(here, request.containerId)));
    const { pid } = await manager.create(here, request);
    assert.ok(pid > 0);
    await manager.delete(here, request.containerId);
  });

  test('a delete whose caller leaves comes to its end', async () => {
    const { containerId } = await run(here, ['true']);
    await manager.wait(here, { containerId });
    const left = new AbortController();
    const deleting = manager.delete(withSignal(here, left.signal), containerId);
    left.abort();
    await assert.rejects(deleting, { code: 'Canceled' });
    await until('it has gone', () => !existsSync(bundleOf(here, containerId)));
    await assert.rejects(manager.state(here, { containerId }), { code: 'NotFound' });
  });

  test('any number of waiters hear one end, and one that left hears none', async () => {
    const { containerId } = await run(here, ['sleep', '1000']);
    const left = new AbortController();
    const gone = manager.wait(withSignal(here, left.signal), { containerId });
    const waiting = Array.from({ length: 50 }, () => manager.wait(here, { containerId }));
    left.abort();
    await assert.rejects(gone, { code: 'Canceled' });
    await manager.kill(here, { containerId }, SIGKILL, { all: false });
    for (const end of await Promise.all(waiting)) assert.equal(end.exitStatus, 137);
    await manager.delete(here, containerId);
  });

  test('a shim that is killed: containers go on under the next one, and each end is told once', async () => {
    const killed = await Promise.all([run(here, ['sleep', '1000']), run(there, ['sleep', '1000'])]);
    const [inHere, inThere] = killed;
    const waiting = [manager.wait(here, inHere), manager.wait(there, inThere)];
    const pid = await shimOf(here, inHere.containerId);
    platform.processes.kill(pid, SIGKILL);
    assert.equal((await manager.state(here, inHere)).status, 'running');
    assert.notEqual(await shimOf(here, inHere.containerId), pid);
    for (const { pid: init } of killed) assert.ok(platform.processes.isAlive(init));
    await manager.kill(here, inHere, SIGKILL, { all: false });
    await manager.kill(there, inThere, SIGKILL, { all: false });
    for (const end of await Promise.all(waiting)) assert.equal(end.exitStatus, 137);
    await manager.delete(here, inHere.containerId);
    await manager.delete(there, inThere.containerId);
    await until('both are told', () => own.exits().filter(isOneOf(killed)).length >= 2);
    assert.equal(own.exits().filter(isOneOf(killed)).length, 2);
  });

  test('a shim that was about to leave is replaced, and the create does not notice', async () => {
    const first = await run(here, ['sleep', '1000']);
    const pid = await shimOf(here, first.containerId);
    await remove(here, first.containerId);
    await using connection = await connectTtrpc(sharedSocket(), { namespace: here.namespace });
    await connection.client(Task).shutdown({ id: '', now: true });
    const second = await run(here, ['sleep', '1000']);
    assert.notEqual(await shimOf(here, second.containerId), pid);
    await remove(here, second.containerId);
  });

  test('a container that puts its shim into a cgroup has one of its own', async () => {
    const shared = await run(here, ['sleep', '1000']);
    const alone = await run(here, ['sleep', '1000'], { options: inCgroup() });
    const pid = await shimOf(here, alone.containerId, addressOf(here, alone.containerId));
    assert.notEqual(pid, await shimOf(here, shared.containerId));
    await remove(here, alone.containerId);
    await until('its shim has left', () => !platform.processes.isAlive(pid));
    assert.equal((await manager.state(here, shared)).status, 'running');
    await remove(here, shared.containerId);
  });

  test('the next manager finds running and ended tasks, also of a shim that died; what never came to be goes', async () => {
    const stays = await run(here, ['sleep', '1000']);
    const ends = await run(there, ['sh', '-c', 'exit 7']);
    await manager.wait(there, ends);
    const alone = await run(here, ['sleep', '1000'], { options: inCgroup() });
    const itsShim = await shimOf(here, alone.containerId, addressOf(here, alone.containerId));
    await manager[Symbol.asyncDispose]();
    platform.processes.kill(itsShim, SIGKILL);
    mkdirSync(bundleOf(here, 'half-made'), { recursive: true });
    mkdirSync(join(directory, 'root', here.namespace, 'orphan'), { recursive: true });

    manager = makeManager();
    await manager.load(background(log));
    const found = (await manager.list(here)).map(({ id, pid, status }) => [id, pid, status]);
    const byPid = (a: (typeof found)[number], b: (typeof found)[number]): number =>
      Number(a[1]) - Number(b[1]);
    assert.deepEqual(found.toSorted(byPid), [
      [stays.containerId, stays.pid, 'running'],
      [alone.containerId, alone.pid, 'running'],
    ]);
    assert.equal((await manager.state(there, ends)).status, 'stopped');
    assert.equal((await manager.delete(there, ends.containerId)).exitStatus, 7);
    const kept = [stays.containerId, alone.containerId];
    assert.deepEqual(readdirSync(join(directory, 'state', here.namespace)).toSorted(), kept);
    assert.deepEqual(readdirSync(join(directory, 'root', here.namespace)).toSorted(), kept);
    for (const containerId of kept) assert.equal(await remove(here, containerId), 137);
  });

  test('a manager that stops dismisses a shim that holds nothing', async () => {
    const { containerId } = await run(here, ['sleep', '1000']);
    const pid = await shimOf(here, containerId);
    await remove(here, containerId);
    await manager[Symbol.asyncDispose]();
    await until('the shim has left', () => !platform.processes.isAlive(pid));
    assert.ok(own.heard.some(({ topic }) => topic === '/tasks/delete'));
  });
});
