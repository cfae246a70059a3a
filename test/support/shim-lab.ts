/**
 * A shim process of ours over real runc, driven by its task API as a daemon would, that can be killed and started again
 * in the same directory. The daemon's side of the events is here and may be away. Needs root.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../../src/base/logger.ts';
import { makeSpec } from '../../src/oci/default-spec.ts';
import type { Announced } from '../../src/oci/shim-state.ts';
import { makePipe } from '../../src/platform/pipe.ts';
import type { Platform } from '../../src/platform/platform.ts';
import { readyWord } from '../../src/platform/ready-process.ts';
import { selectPlatform } from '../../src/platform/select.ts';
import { loadContainer } from '../../src/shim/bundle/state-file.ts';
import { makeBusyboxRoot } from '../../src/testing/busybox-root.ts';
import { until } from '../../src/testing/until.ts';
import { anyToWire, jsonTypeUrls, packAny, packJson, unpackAny } from '../../src/wire/any.ts';
import { TaskExitSchema } from '../../src/wire/gen/containerd/events/task_pb.js';
import { Task } from '../../src/wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Events } from '../../src/wire/gen/containerd/services/ttrpc/events/v1/events_pb.js';
import type { Envelope } from '../../src/wire/gen/containerd/types/event_pb.js';
import { OptionsSchema } from '../../src/wire/gen/containerd/types/runc/options/oci_pb.js';
import { pipeReader } from '../../src/wire/pipe.ts';
import { type Client, serve } from '../../src/wire/service.ts';
import { connectTtrpc, type TtrpcConnection } from '../../src/wire/ttrpc/client.ts';
import { TtrpcServer } from '../../src/wire/ttrpc/server.ts';
import { UnixListener } from '../../src/wire/unix-listener.ts';

const SIGKILL = 9;
const namespace = 'shim-lab';
const program = new URL('../../src/shim/main.ts', import.meta.url).pathname;
const applets = ['sh', 'cat', 'echo', 'sleep', 'true', 'seq', 'tail', 'usleep', 'awk'];

export interface MakeOptions {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
  /** Limit of its cgroup. */
  readonly memoryBytes?: number;
  /** Program in the place of runc. */
  readonly runc?: string;
}

export interface BundleOptions extends Pick<MakeOptions, 'terminal' | 'memoryBytes'> {
  readonly annotations?: Readonly<Record<string, string>>;
}

export class ShimLab implements AsyncDisposable {
  readonly root: string;
  readonly platform: Platform;
  readonly events: Envelope[] = [];
  pid = 0;
  #made = 0;
  #daemon: { listener: UnixListener; server: TtrpcServer } | undefined;
  #connection: TtrpcConnection | undefined;
  readonly #others: number[] = [];

  private constructor(platform: Platform) {
    this.platform = platform;
    this.root = mkdtempSync(join(tmpdir(), 'gantry-shim-lab-'));
  }

  static async open(): Promise<ShimLab> {
    const lab = new ShimLab(await selectPlatform());
    makeBusyboxRoot(join(lab.root, 'image'), applets);
    mkdirSync(join(lab.root, 'shim'));
    await lab.daemonComes();
    await lab.start();
    return lab;
  }

  get connection(): TtrpcConnection {
    if (this.#connection === undefined) throw new Error('the shim of the lab is not running');
    return this.#connection;
  }

  get tasks(): Client<typeof Task> {
    return this.connection.client(Task);
  }

  get log(): string {
    return readFileSync(join(this.root, 'log'), 'utf8');
  }

  /** Topics of one container in their order; an exit with the process's id and status. */
  topics(id: string): string[] {
    return this.events.flatMap(({ topic, event }) => {
      const value = event as NonNullable<typeof event>;
      if (!Buffer.from(value.value).includes(id)) return [];
      if (topic !== '/tasks/exit') return [topic.slice('/tasks/'.length)];
      const exit = unpackAny(TaskExitSchema, value);
      return [`exit ${exit.id === id ? 'init' : exit.id} ${exit.exitStatus}`];
    });
  }

  async daemonComes(): Promise<void> {
    const server = new TtrpcServer({
      log: silentLogger,
      services: [
        serve(Events, {
          forward: async (_ctx, { envelope }) => {
            this.events.push(envelope as Envelope);
            return {};
          },
        }),
      ],
    });
    const listener = await UnixListener.listen(this.platform, join(this.root, 'events'));
    server.attach(listener);
    this.#daemon = { listener, server };
  }

  async daemonGoes(): Promise<void> {
    await this.#daemon?.listener.close();
    await this.#daemon?.server.shutdown(0);
    this.#daemon = undefined;
  }

  /** Resolves when the shim says that it is ready. */
  async start(): Promise<void> {
    const { processes, files } = this.platform;
    const ready = makePipe(files);
    const log = openSync(join(this.root, 'log'), 'a');
    const shim = join(this.root, 'shim');
    this.pid = processes.spawn({
      file: process.execPath,
      args: [
        ...[program, '-address', join(this.root, 'daemon'), '-socket', join(shim, 'sock')],
        ...['-runc-root', join(shim, 'runc'), '-grace-ms', '0', '-debug', 'serve'],
      ],
      env: this.environment,
      stdio: ['null', 'null', log, ready.writeFd],
      newSession: true,
    });
    closeSync(log);
    closeSync(ready.writeFd);
    const chunks: Buffer[] = [];
    for await (const chunk of pipeReader(ready.readFd)) chunks.push(chunk as Buffer);
    const said = Buffer.concat(chunks).toString();
    if (said !== readyWord) throw new Error(`the shim did not start: ${said}`);
    this.#connection = await connectTtrpc(join(shim, 'sock'), { namespace });
  }

  get environment(): Record<string, string> {
    return { PATH: process.env['PATH'] ?? '', TTRPC_ADDRESS: join(this.root, 'events') };
  }

  /**
   * kill -9; resolves when it is gone. Unless it is to be `now`, it comes when the shim has noted that all its news
   * were taken: what was not noted is told again.
   */
  async kill({ now = false } = {}): Promise<void> {
    if (!now) await until('all news are noted as taken', () => this.#ids().every((id) => this.#isNoted(id)));
    this.platform.processes.kill(this.pid, SIGKILL);
    await this.platform.processes.exited(this.pid);
    await this.#connection?.[Symbol.asyncDispose]();
    this.#connection = undefined;
  }

  #ids(): string[] {
    return Array.from({ length: this.#made }, (_, at) => `lab${at + 1}x`);
  }

  #isNoted(id: string): boolean {
    const saved = loadContainer(this.bundle(id));
    if (saved === undefined || saved.init.phase === 'deleted') return true;
    const due: Record<string, Announced> = { created: 'added', running: 'started', stopped: 'exited' };
    return [saved.init, ...saved.execs].every(
      ({ phase, announced }) => due[phase] === undefined || due[phase] === announced,
    );
  }

  async replace(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** A shim that the lab did not start, to be killed with it. */
  alsoKill(pid: number): void {
    this.#others.push(pid);
  }

  bundle(id: string): string {
    return join(this.root, id);
  }

  makeBundle(args: readonly string[], options: BundleOptions = {}): string {
    this.#made += 1;
    const id = `lab${this.#made}x`;
    mkdirSync(join(this.bundle(id), 'rootfs'), { recursive: true });
    const { terminal = false, annotations, memoryBytes } = options;
    const spec = makeSpec({ id, namespace, args, terminal });
    const resources = { ...spec.linux?.resources, memory: { limit: memoryBytes } };
    const linux = memoryBytes === undefined ? spec.linux : { ...spec.linux, resources };
    const text = JSON.stringify({ ...spec, linux, annotations });
    writeFileSync(join(this.bundle(id), 'config.json'), text);
    return id;
  }

  /** What a create of the bundle asks for. */
  request(id: string, options: MakeOptions = {}) {
    const { runc, memoryBytes: _, ...io } = options;
    return {
      id,
      bundle: this.bundle(id),
      rootfs: [{ type: 'bind', source: join(this.root, 'image'), options: ['rbind', 'ro'] }],
      ...io,
      ...(runc === undefined ? {} : { options: anyToWire(packAny(OptionsSchema, { binaryName: runc })) }),
    };
  }

  async create(args: readonly string[], options: MakeOptions = {}): Promise<string> {
    const id = this.makeBundle(args, options);
    await this.tasks.create(this.request(id, options));
    return id;
  }

  async run(args: readonly string[], options: MakeOptions = {}): Promise<string> {
    const id = await this.create(args, options);
    await this.tasks.start({ id });
    return id;
  }

  async addExec(id: string, execId: string, args: readonly string[]): Promise<void> {
    const process = { args, cwd: '/', env: ['PATH=/bin'], user: { uid: 0, gid: 0 } };
    await this.tasks.exec({ id, execId, spec: anyToWire(packJson(jsonTypeUrls.process, process)) });
  }

  makeFifo(name: string): string {
    const path = join(this.root, name);
    this.platform.files.makeFifo(path, 0o600);
    return path;
  }

  /** A reader that is there at once. */
  openReader(fifo: string): number {
    return openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  /** Status of a container that has ended or is killed now; it is deleted. */
  async finish(id: string, signal?: number): Promise<number> {
    if (signal !== undefined) await this.tasks.kill({ id, signal });
    const { exitStatus } = await this.tasks.wait({ id });
    await this.tasks.delete({ id });
    await until(`the end of ${id} is told`, () => this.topics(id).includes('delete'));
    return exitStatus;
  }

  /** A runc that waits in `subcommand` until `go` is called; `waits` when it is there. */
  makeSlowRunc(name: string, subcommand: string): { path: string; go(): void; waits(): Promise<void> } {
    const path = join(this.root, name);
    const script = `#!/bin/sh
case " $* " in
  *" ${subcommand} "*) : >${path}.waits; while [ ! -e ${path}.go ]; do sleep 0.02; done ;;
esac
exec runc "$@"
`;
    writeFileSync(path, script, { mode: 0o755 });
    return {
      path,
      go: () => writeFileSync(`${path}.go`, ''),
      waits: () => until(`runc ${subcommand} is under way`, () => existsSync(`${path}.waits`)),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { processes, mounts } = this.platform;
    if (this.#connection !== undefined) await this.kill({ now: true });
    for (const pid of this.#others) if (processes.isAlive(pid)) processes.kill(pid, SIGKILL);
    const runcRoot = join(this.root, 'shim/runc', namespace);
    for (const id of this.#ids())
      if (existsSync(join(runcRoot, id))) execFileSync('runc', ['--root', runcRoot, 'delete', '--force', id]);
    await this.daemonGoes();
    mounts.unmountAll(this.root, { lazy: true });
    rmSync(this.root, { recursive: true, force: true });
  }
}
