/**
 * Containers of one daemon in a namespace of their own, by the API where ctr has no flag. Disposing ends and deletes
 * whatever is left of them, for runc's state of a foreign shim outlives the test's directories.
 */
import { randomBytes } from 'node:crypto';
import { readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { connect, type GantryClient, hasCode, type Mount } from '../../src/client/index.ts';
import {
  type CreateTaskRequestSchema,
  Tasks,
} from '../../src/wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import type { Client } from '../../src/wire/service.ts';
import type { Ctr } from './ctr.ts';
import type { Daemon } from './daemon.ts';
import { EventRecorder } from './event-recorder.ts';

const SIGKILL = 9;
/** Of shims that a real containerd starts. */
const defaultRuncRoot = '/run/containerd/runc';

/** What a create says beside the container's id and its root file system. */
export type TaskRequest = Omit<
  MessageInitShape<typeof CreateTaskRequestSchema>,
  'containerId' | 'rootfs' | '$typeName'
>;

export interface RunOptions extends TaskRequest {
  /** Flags of `ctr containers create`. */
  readonly flags?: readonly string[];
}

export class TaskLab implements AsyncDisposable {
  readonly client: GantryClient;
  readonly namespace: string;
  readonly #daemon: Daemon;
  readonly #image: string;
  readonly #connection: ReturnType<typeof connectGrpc>;

  private constructor(daemon: Daemon, image: string) {
    this.namespace = `lab-${randomBytes(6).toString('hex')}`;
    this.client = connect({ address: daemon.address, namespace: this.namespace });
    this.#connection = connectGrpc(daemon.address, { namespace: this.namespace });
    this.#daemon = daemon;
    this.#image = image;
  }

  /** Pulls `image`, by another ctr where the daemon is too old for its own. */
  static async open(daemon: Daemon, image: string, { pullBy = daemon.ctr } = {}): Promise<TaskLab> {
    const lab = new TaskLab(daemon, image);
    await pullBy('-n', lab.namespace, 'images', 'pull', '--plain-http', image);
    return lab;
  }

  /** The daemon's ctr, in the namespace. */
  get ctr(): Ctr {
    const { ctr } = this.#daemon;
    const words = (args: readonly string[]): string[] => ['-n', this.namespace, ...args];
    return Object.assign((...args: string[]) => ctr(...words(args)), {
      binary: ctr.binary,
      attempt: (args: readonly string[], options?: Parameters<Ctr['attempt']>[1]) =>
        ctr.attempt(words(args), options),
    });
  }

  /** The raw task service. */
  get tasks(): Client<typeof Tasks> {
    return this.#connection.client(Tasks);
  }

  /** Makes a container record with its snapshot. Returns the mounts of that. */
  async record(id: string, command: readonly string[], flags: readonly string[] = []): Promise<Mount[]> {
    await this.ctr('containers', 'create', ...flags, this.#image, id, ...command);
    return this.mounts(id);
  }

  mounts(id: string): Promise<Mount[]> {
    return this.client.snapshots('overlayfs').mounts(id);
  }

  /** Container and task; it does not run yet. */
  async create(
    id: string,
    command: readonly string[],
    { flags = [], ...request }: RunOptions = {},
  ): Promise<number> {
    const rootfs = await this.record(id, command, flags);
    return this.createTask(id, rootfs, request);
  }

  async createTask(id: string, rootfs: readonly Mount[], request: TaskRequest = {}): Promise<number> {
    const mounts = rootfs.map((mount) => ({ ...mount, options: [...mount.options] }));
    return (await this.tasks.create({ ...request, containerId: id, rootfs: mounts })).pid;
  }

  async run(id: string, command: readonly string[], options: RunOptions = {}): Promise<number> {
    const pid = await this.create(id, command, options);
    await this.tasks.start({ containerId: id });
    return pid;
  }

  /** Exit status of the task, which is ended when it still runs, and deleted with its container. */
  async end(id: string): Promise<number> {
    const task = this.client.tasks.task(id);
    await task.kill(SIGKILL, { all: true }).catch((error: unknown) => {
      if (!hasCode(error, 'NotFound') && !hasCode(error, 'FailedPrecondition')) throw error;
    });
    if ((await task.state()).status !== 'created') await task.wait();
    const { exitStatus } = await task.delete();
    await this.ctr('containers', 'rm', id);
    return exitStatus;
  }

  /** Hears every event of the namespace from now on. */
  listen(): Promise<EventRecorder> {
    return EventRecorder.start(this.#daemon, { namespace: this.namespace });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const { id } of await this.client.tasks.list()) {
        await this.ctr.attempt(['tasks', 'resume', id]);
        await this.ctr.attempt(['tasks', 'rm', '-f', id]);
      }
    } finally {
      await this.client[Symbol.asyncDispose]();
      await this.#connection[Symbol.asyncDispose]();
      await this.#removeTraces();
    }
  }

  /** runc leaves the empty directory above a container's, in every hierarchy and where its state was. */
  async #removeTraces(): Promise<void> {
    const cgroups = '/sys/fs/cgroup';
    const above = [...(await readdir(cgroups)).map((name) => join(cgroups, name)), cgroups, defaultRuncRoot];
    for (const directory of above) await rmdir(join(directory, this.namespace)).catch(() => {});
  }
}
