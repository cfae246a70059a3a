/**
 * A task manager over real shim processes and runc (needs root), two namespaces, and containers without a database. Each
 * test file names its namespaces and cgroup itself, for files run side by side.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AnyValue } from '../../base/any-value.ts';
import { background, type Context, type NamespacedContext, withNamespace } from '../../base/context.ts';
import { ContainerdError } from '../../base/errors.ts';
import { type ContainerId, parseContainerId, parseNamespace } from '../../base/identifiers.ts';
import { silentLogger as log } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import { makeSpec } from '../../oci/default-spec.ts';
import type { Platform } from '../../platform/platform.ts';
import { selectPlatform } from '../../platform/select.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { makeBusyboxRoot } from '../../testing/busybox-root.ts';
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

interface Heard {
  readonly topic: string;
  readonly event: AnyValue;
}

/** What subscribers would hear: of the shims, which forward over the socket, and of the manager. */
class HeardEvents implements EventExchange {
  readonly all: Heard[] = [];

  async publish(_ctx: Context, topic: string, event: AnyValue): Promise<void> {
    this.all.push({ topic, event });
  }

  async forward(_ctx: Context, { topic, event }: Envelope): Promise<void> {
    this.all.push({ topic, event });
  }

  async *subscribe(): AsyncGenerator<Envelope> {}

  /** Containers and statuses of exits of inits, in the order in which they were told. */
  exits(): [id: string, status: number][] {
    return this.all
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

/** Nothing here is checkpointed into it. */
const noContent = {} as ContentStore;

export interface RecordOptions {
  /** The next one that is free, if left out. */
  readonly id?: ContainerId;
  readonly runtime?: Partial<Container['runtime']>;
}

export class ManagerLab implements AsyncDisposable {
  readonly platform: Platform;
  readonly directory: string;
  readonly here: NamespacedContext;
  readonly there: NamespacedContext;
  readonly heard = new HeardEvents();
  /** The present one; it is disposed with the lab. */
  manager: ShimTaskManager;
  readonly #containers = new Containers();
  readonly #events: TaskEventExchange;
  readonly #shimCgroup: string;
  readonly #shimPids = new Set<number>();
  readonly #ending = new AsyncDisposableStack();
  #made = 0;

  private constructor(platform: Platform, directory: string, name: string) {
    this.platform = platform;
    this.directory = directory;
    this.#shimCgroup = `/gantry-${name}`;
    this.here = withNamespace(background(log), parseNamespace(name));
    this.there = withNamespace(background(log), parseNamespace(`${name}.2`));
    const journal = new ExitJournal(join(directory, 'journal'));
    this.#events = new TaskEventExchange({ exchange: this.heard, journal });
    this.manager = this.nextManager();
  }

  /** `name` is that of its namespaces and of the cgroup that some shims are put into. */
  static async open(name: string): Promise<ManagerLab> {
    const platform = await selectPlatform();
    const directory = await mkdtemp(join(tmpdir(), 'gantry-manager-'));
    const lab = new ManagerLab(platform, directory, name);
    lab.#ending.defer(() => lab.#removeTraces());
    for (const path of ['root', 'state']) mkdirSync(join(directory, path));
    makeBusyboxRoot(join(directory, 'image'), ['sh', 'sleep', 'true']);
    await lab.#serveEvents();
    lab.#ending.defer(() => lab.manager[Symbol.asyncDispose]());
    return lab;
  }

  /** Takes the place of `manager`, which must have been disposed, as after a restart of the daemon. */
  nextManager(): ShimTaskManager {
    this.manager = new ShimTaskManager(
      {
        containers: this.#containers as unknown as ContainerStore,
        content: noContent,
        events: this.#events,
        exits: this.#events.exits,
        platform: this.platform,
        log,
      },
      {
        root: join(this.directory, 'root'),
        state: join(this.directory, 'state'),
        shimDirectory: join(this.directory, 'shims'),
        sharing: 'node',
        deadlines: new Deadlines(),
        shim: {
          file: process.execPath,
          args: ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../../shim/main.ts')],
        },
        daemon: {
          grpcAddress: join(this.directory, 'grpc'),
          ttrpcAddress: join(this.directory, 'ttrpc'),
          publishBinary: '/bin/true',
          version: 'test',
        },
        besideDir: '/absent',
      },
    );
    return this.manager;
  }

  /** Runtime options that put the shim into a cgroup. */
  inCgroup(): AnyValue {
    return packAny(OptionsSchema, { shimCgroup: this.#shimCgroup });
  }

  /** Records a container, and says how its task is created. */
  record(
    ctx: NamespacedContext,
    args: readonly string[],
    { id = this.#nextId(), runtime = {} }: RecordOptions = {},
  ): CreateTask {
    const spec = packJson(jsonTypeUrls.spec, makeSpec({ id, namespace: ctx.namespace, args }));
    this.#containers.records.set(`${ctx.namespace}/${id}`, {
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
    const image = join(this.directory, 'image');
    return {
      containerId: id,
      rootfs: [{ type: 'bind', source: image, target: '', options: ['rbind', 'ro'] }],
      io: { stdin: '', stdout: '', stderr: '', terminal: false },
      checkpoint: undefined,
      options: undefined,
      runtimePath: '',
      taskApiAddress: '',
      taskApiVersion: 0,
    };
  }

  async run(
    ctx: NamespacedContext,
    args: readonly string[],
    options: RecordOptions = {},
  ): Promise<{ containerId: ContainerId; pid: number }> {
    const request = this.record(ctx, args, options);
    const { pid } = await this.manager.create(ctx, request);
    await this.manager.start(ctx, request);
    return { containerId: request.containerId, pid };
  }

  /** Ends the task and deletes it. Returns its status. */
  async remove(ctx: NamespacedContext, containerId: ContainerId): Promise<number> {
    await this.manager.kill(ctx, { containerId }, SIGKILL, { all: true }).catch(() => {});
    await this.manager.wait(ctx, { containerId });
    return (await this.manager.delete(ctx, containerId)).exitStatus;
  }

  /** Of the shim that containers share. */
  sharedSocket(): string {
    return join(this.directory, 'shims/shim/sock');
  }

  /** Pid of the shim that holds a container, asked past the manager. */
  async shimOf(
    ctx: NamespacedContext,
    id: ContainerId,
    address: string = this.sharedSocket(),
  ): Promise<number> {
    await using connection = await connectTtrpc(address, { namespace: ctx.namespace });
    const { shimPid } = await connection.client(Task).connect({ id });
    this.#shimPids.add(shimPid);
    return shimPid;
  }

  bundleOf(ctx: NamespacedContext, id: string): string {
    return join(this.directory, 'state', ctx.namespace, id);
  }

  /** The socket of the shim that a container was created in. */
  addressOf(ctx: NamespacedContext, id: ContainerId): string {
    const text = readFileSync(join(this.bundleOf(ctx, id), 'bootstrap.json'), 'utf8');
    return (JSON.parse(text) as { address: string }).address;
  }

  #nextId(): ContainerId {
    this.#made += 1;
    return parseContainerId(`m${this.#made}`);
  }

  /** As the daemon does, for the shims. */
  async #serveEvents(): Promise<void> {
    const server = new TtrpcServer({
      log,
      services: [
        serve(Events, {
          forward: async (ctx, { envelope }) => {
            const event = anyFromWire(envelope?.event);
            assert.ok(envelope !== undefined && event !== undefined);
            const { topic } = envelope;
            const namespace = parseNamespace(envelope.namespace);
            await this.#events.forward(ctx, { timestamp: now(), namespace, topic, event });
            return {};
          },
        }),
      ],
    });
    this.#ending.defer(() => server.shutdown(0));
    const listener = await UnixListener.listen(this.platform, join(this.directory, 'ttrpc'));
    this.#ending.defer(() => listener.close());
    server.attach(listener);
  }

  async #removeTraces(): Promise<void> {
    const { processes, mounts } = this.platform;
    for (const pid of this.#shimPids) if (processes.isAlive(pid)) processes.kill(pid, SIGKILL);
    for (const { fileSystemType, mountPoint } of mounts.list())
      if (fileSystemType.startsWith('cgroup'))
        await rmdir(join(mountPoint, this.#shimCgroup)).catch(() => {});
    mounts.unmountAll(this.directory, { lazy: true });
    await rm(this.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ending[Symbol.asyncDispose]();
  }
}
