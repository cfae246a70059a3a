/** A shim in this process over real runc, with a daemon that hears its events, and containers of busybox (needs root). */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../base/logger.ts';
import { makeSpec } from '../oci/default-spec.ts';
import type { Platform } from '../platform/platform.ts';
import { selectPlatform } from '../platform/select.ts';
import { makeBusyboxRoot } from '../testing/busybox-root.ts';
import { anyToWire, jsonTypeUrls, packJson, unpackAny } from '../wire/any.ts';
import { TaskExitSchema } from '../wire/gen/containerd/events/task_pb.js';
import { Task } from '../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Events } from '../wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import type { Envelope } from '../wire/gen/containerd/types/event_pb.js';
import { type Client, serve } from '../wire/service.ts';
import { connectTtrpc, type TtrpcConnection } from '../wire/ttrpc/client.ts';
import { TtrpcServer } from '../wire/ttrpc/server.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import { EventPublisher } from './event-publisher.ts';
import { HeldDirectory } from './held-directory.ts';
import { Shim } from './shim.ts';
import { streamsService } from './streams-service.ts';
import { taskServices } from './task-service.ts';

const applets = ['sh', 'cat', 'echo', 'sleep', 'true', 'seq', 'tail', 'tty', 'stty'];

/** Streams of a process: FIFOs are made for what is left out, and the name of one for stdin. */
export interface Streams {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

export interface Made {
  readonly id: string;
  readonly bundle: string;
  readonly pid: number;
  /** What comes out of a FIFO that was made for stdout or stderr. */
  readonly output: Promise<string>;
  readonly errors: Promise<string>;
}

/** Envelopes in the order in which they were forwarded. */
class ForwardedEvents {
  readonly #events: Envelope[] = [];
  readonly #listening = new Set<() => void>();

  async forward(envelope: Envelope): Promise<void> {
    this.#events.push(envelope);
    for (const told of this.#listening) told();
  }

  /** Topics of one container, in the order in which they arrived; the exit with the process's id. */
  topics(id: string): string[] {
    return this.#events.flatMap(({ topic, event }) => {
      const value = event as NonNullable<typeof event>;
      if (!Buffer.from(value.value).includes(id)) return [];
      return [topic === '/tasks/exit' ? `exit ${unpackAny(TaskExitSchema, value).id}` : topic.slice(7)];
    });
  }

  async arrived(check: () => boolean): Promise<void> {
    while (!check()) {
      await new Promise<void>((resolve) => {
        const told = (): void => {
          this.#listening.delete(told);
          resolve();
        };
        this.#listening.add(told);
      });
    }
  }
}

export class ShimWorld implements AsyncDisposable {
  /** Its own in every file: test files run side by side, and cgroups are named by it. */
  readonly namespace: string;
  readonly root: string;
  readonly platform: Platform;
  readonly connection: TtrpcConnection;
  readonly tasks: Client<typeof Task>;
  readonly #events: ForwardedEvents;
  readonly #ending: AsyncDisposableStack;
  #made = 0;

  private constructor(parts: {
    namespace: string;
    root: string;
    platform: Platform;
    connection: TtrpcConnection;
    events: ForwardedEvents;
    ending: AsyncDisposableStack;
  }) {
    this.namespace = parts.namespace;
    this.root = parts.root;
    this.platform = parts.platform;
    this.connection = parts.connection;
    this.tasks = parts.connection.client(Task);
    this.#events = parts.events;
    this.#ending = parts.ending;
  }

  static async make(namespace: string): Promise<ShimWorld> {
    await using undo = new AsyncDisposableStack();
    const root = mkdtempSync(join(tmpdir(), 'gantry-shim-'));
    undo.defer(() => rmSync(root, { recursive: true, force: true }));
    makeBusyboxRoot(join(root, 'image'), applets);
    const platform = await selectPlatform();
    undo.defer(() => platform.mounts.unmountAll(root, { lazy: true }));
    platform.processes.becomeSubreaper();

    const events = new ForwardedEvents();
    const daemon = new TtrpcServer({
      log: silentLogger,
      services: [
        serve(Events, {
          forward: async (_ctx, { envelope }) => {
            await events.forward(envelope as Envelope);
            return {};
          },
        }),
      ],
    });
    undo.defer(() => daemon.shutdown(0));
    const home = await UnixListener.listen(platform, join(root, 'events'));
    undo.defer(() => home.close());
    daemon.attach(home);
    const publisher = undo.use(
      new EventPublisher({
        connect: (signal) => connectTtrpc(join(root, 'events'), { signal }),
        log: silentLogger,
      }),
    );

    const held = undo.use(await HeldDirectory.open(platform, join(root, 'held')));
    const shim = new Shim(
      { platform, events: publisher, log: silentLogger, held, onIdle: () => {} },
      { runcRoot: join(root, 'runc'), graceMs: 0, namespace: '' },
    );
    // A shim that was never asked to stop waits for its first container.
    undo.defer(() => shim.shutdown());
    const server = new TtrpcServer({
      services: [...taskServices(shim), streamsService(shim)],
      log: silentLogger,
    });
    undo.defer(() => server.shutdown(0));
    const listener = await UnixListener.listen(platform, join(root, 'shim'));
    undo.defer(() => listener.close());
    server.attach(listener);
    const connection = undo.use(await connectTtrpc(join(root, 'shim'), { namespace }));
    return new ShimWorld({ namespace, root, platform, connection, events, ending: undo.move() });
  }

  /** Topics of one container, in the order in which they arrived; the exit with the process's id. */
  topics(id: string): string[] {
    return this.#events.topics(id);
  }

  /** Resolves when `check` holds; it is asked again after each event. */
  arrived(check: () => boolean): Promise<void> {
    return this.#events.arrived(check);
  }

  image(): { type: string; source: string; options: string[] } {
    return { type: 'bind', source: join(this.root, 'image'), options: ['rbind', 'ro'] };
  }

  makeBundle(args: readonly string[], terminal: boolean): { id: string; bundle: string } {
    this.#made += 1;
    const id = `c${this.#made}x`;
    const bundle = join(this.root, id);
    mkdirSync(join(bundle, 'rootfs'), { recursive: true });
    const spec = makeSpec({ id, namespace: this.namespace, args, terminal });
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
    return { id, bundle };
  }

  /** A container that is not started. */
  async make(args: readonly string[], io: Streams = {}): Promise<Made> {
    const { id, bundle } = this.makeBundle(args, io.terminal ?? false);
    const piped = io.stdout === undefined;
    const stdout = io.stdout ?? join(bundle, 'out');
    const stderr = io.stderr ?? (io.terminal === true || !piped ? '' : join(bundle, 'err'));
    const output = piped ? this.#readFifo(stdout) : Promise.resolve('');
    const errors = stderr === '' || !piped ? Promise.resolve('') : this.#readFifo(stderr);
    const relayed = io.stdin?.startsWith('cri:') === true;
    if (io.stdin !== undefined && !relayed) this.platform.files.makeFifo(join(bundle, io.stdin), 0o700);
    const { pid } = await this.tasks.create({
      id,
      bundle,
      rootfs: [this.image()],
      stdin: io.stdin === undefined || relayed ? (io.stdin ?? '') : join(bundle, io.stdin),
      stdout,
      stderr,
      terminal: io.terminal ?? false,
    });
    return { id, bundle, pid, output, errors };
  }

  /** Status of its end, which delete tells too; resolves when the event of the delete has arrived. */
  async finish(id: string): Promise<number> {
    const { exitStatus } = await this.tasks.wait({ id });
    const deleted = await this.tasks.delete({ id });
    assert.equal(deleted.exitStatus, exitStatus);
    await this.arrived(() => this.topics(id).includes('delete'));
    return exitStatus;
  }

  async exec(id: string, execId: string, args: readonly string[], io: Streams = {}): Promise<void> {
    const spec = packJson(jsonTypeUrls.process, {
      args,
      cwd: '/',
      env: ['PATH=/bin'],
      user: { uid: 0, gid: 0 },
    });
    await this.tasks.exec({ ...io, id, execId, spec: anyToWire(spec) });
  }

  async #readFifo(path: string): Promise<string> {
    this.platform.files.makeFifo(path, 0o700);
    await using file = await open(path, 'r');
    return await file.readFile('utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ending[Symbol.asyncDispose]();
  }
}
