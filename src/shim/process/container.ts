/**
 * One container of the shim: its init, its execs, and what may be done with them. The stories that make it are beside:
 * container-create.ts, exec-start.ts; its end is told in container-exit.ts.
 *
 * Calls that change it take turns (`#turn`); kill does not wait, for it must get through when another call hangs.
 */

import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { alreadyExists, ContainerdError, failedPrecondition, hasCode, notFound } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { Logger } from '../../base/logger.ts';
import type { CgroupPaths } from '../../platform/cgroups/cgroup-paths.ts';
import type { Platform } from '../../platform/platform.ts';
import { unmountAll } from '../../platform/temp-mount.ts';
import {
  TaskDeleteSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from '../../wire/gen/containerd/events/task_pb.js';
import { timestampOrZero } from '../../wire/timestamps.ts';
import type { SpecFacts } from '../bundle/spec.ts';
import { type SavedProcess, saveContainer } from '../bundle/state-file.ts';
import type { EventPublisher } from '../event-publisher.ts';
import type { Runc } from '../runc/runc.ts';
import { type CheckpointWords, checkpointWords, deleteWords, killWords } from '../runc/runc-arguments.ts';
import { processDirectory, processesIn } from './cgroup.ts';
import type { CreateOptions } from './options.ts';
import type { ProcessEnd, TaskProcess } from './task-process.ts';

export interface ContainerDependencies {
  readonly platform: Platform;
  readonly runc: Runc;
  readonly events: EventPublisher;
  readonly log: Logger;
}

export interface ContainerIdentity {
  readonly namespace: string;
  readonly id: string;
  readonly bundle: string;
}

/** Terminal output that a client has not taken by then is cut. */
const deleteDrainMs = 10_000;

export class Container {
  readonly namespace: string;
  readonly id: string;
  readonly bundle: string;
  readonly dependencies: ContainerDependencies;
  readonly options: CreateOptions;
  readonly spec: SpecFacts;
  readonly init: TaskProcess;
  readonly execs = new Map<string, TaskProcess>();
  cgroup: CgroupPaths | undefined;
  paused = false;
  /** Starts a container that was made from a checkpoint: restore takes the place of start. */
  restore: (() => Promise<void>) | undefined;
  readonly #lock = new KeyedLock();

  constructor(
    dependencies: ContainerDependencies,
    identity: ContainerIdentity,
    made: { readonly options: CreateOptions; readonly spec: SpecFacts; readonly init: TaskProcess },
  ) {
    this.dependencies = dependencies;
    this.namespace = identity.namespace;
    this.id = identity.id;
    this.bundle = identity.bundle;
    this.options = made.options;
    this.spec = made.spec;
    this.init = made.init;
  }

  get rootfs(): string {
    return join(this.bundle, 'rootfs');
  }

  /** Init for "". Errors: NotFound. */
  process(execId: string): TaskProcess {
    if (execId === '') return this.init;
    const exec = this.execs.get(execId);
    if (exec === undefined) throw notFound('process', `${execId} of container ${this.id}`);
    return exec;
  }

  /** Errors: AlreadyExists; FailedPrecondition when init has ended. */
  addExec(exec: TaskProcess): void {
    if (this.execs.has(exec.id)) throw alreadyExists('process', `${exec.id} of container ${this.id}`);
    if (this.init.phase === 'stopped')
      throw failedPrecondition(`container ${this.id} has ended; no process can be added to it`);
    this.execs.set(exec.id, exec);
  }

  /** Errors: FailedPrecondition when it was started before; as runc says. */
  async start(): Promise<number> {
    using _turn = await this.#turn();
    await this.init.startOnce(async () => {
      if (this.restore !== undefined) await this.restore();
      else await this.runc('OCI runtime start failed', ['start', this.id]);
      this.dependencies.events.publish(this.namespace, '/tasks/start', TaskStartSchema, {
        containerId: this.id,
        pid: this.init.pid,
      });
    });
    return this.init.pid;
  }

  /** Errors: NotFound when the process has ended, FailedPrecondition before it has a pid. */
  async kill(execId: string, signal: number, all: boolean): Promise<void> {
    const target = this.process(execId);
    const pid = target.requireAlive();
    // runc knows the cgroup, and thaws what is frozen so that it can die.
    if (execId === '' && (all || this.paused))
      await this.runc('runc kill failed', killWords(this.id, signal, all));
    // Not reaped yet, so the pid is still its own.
    else this.dependencies.platform.processes.kill(pid, signal);
  }

  /**
   * Takes the container away. Waits for its exit to be announced.
   * Errors: FailedPrecondition while it runs; as runc says.
   */
  async delete(): Promise<ProcessEnd> {
    using _turn = await this.#turn();
    if (this.init.phase === 'running')
      throw failedPrecondition(
        `cannot delete a running process ${this.id}; kill it first and wait for its end`,
      );
    const wasCreated = this.init.phase === 'created' && this.init.pid !== 0;
    await this.#deleteRunc(wasCreated);
    const end =
      this.init.pid === 0 ? { pid: 0, status: 0, exitedAt: undefined } : await this.init.ended.promise;
    await this.#release();
    this.dependencies.events.publish(this.namespace, '/tasks/delete', TaskDeleteSchema, {
      containerId: this.id,
      pid: end.pid,
      exitStatus: end.status,
      exitedAt: timestampOrZero(end.exitedAt),
      id: '',
    });
    return end;
  }

  /** Errors: NotFound; FailedPrecondition while it runs. */
  async deleteExec(execId: string): Promise<ProcessEnd> {
    const exec = this.process(execId);
    if (exec.phase === 'running')
      throw failedPrecondition(
        `cannot delete a running process ${execId}; kill it first and wait for its end`,
      );
    await exec.starting;
    const end =
      exec.phase === 'created' ? { pid: 0, status: 0, exitedAt: undefined } : await exec.ended.promise;
    await exec.drained(deleteDrainMs);
    await exec.closeStreams();
    this.execs.delete(execId);
    return end;
  }

  async pause(): Promise<void> {
    using _turn = await this.#turn();
    this.#requireRunning('pause');
    if (this.paused) throw failedPrecondition(`container ${this.id} is paused already`);
    await this.runc('OCI runtime pause failed', ['pause', this.id]);
    this.paused = true;
    this.dependencies.events.publish(this.namespace, '/tasks/paused', TaskPausedSchema, {
      containerId: this.id,
    });
  }

  async resume(): Promise<void> {
    using _turn = await this.#turn();
    if (!this.paused) throw failedPrecondition(`container ${this.id} is not paused`);
    await this.runc('OCI runtime resume failed', ['resume', this.id]);
    this.paused = false;
    this.dependencies.events.publish(this.namespace, '/tasks/resumed', TaskResumedSchema, {
      containerId: this.id,
    });
  }

  /** `resources` is a runtime spec's linux.resources, as JSON text. */
  async update(resources: Uint8Array): Promise<void> {
    using _turn = await this.#turn();
    if (this.init.phase === 'stopped') throw failedPrecondition(`container ${this.id} has ended`);
    const path = join(this.bundle, 'resources.json');
    writeFileSync(path, resources, { mode: 0o600 });
    await this.runc('OCI runtime update failed', ['update', '--resources', path, this.id]);
  }

  async checkpoint(words: Omit<CheckpointWords, 'id'>): Promise<void> {
    using _turn = await this.#turn();
    this.#requireRunning('checkpoint');
    await this.runc('OCI runtime checkpoint failed', checkpointWords({ ...words, id: this.id }));
  }

  /**
   * Processes of the container; none when it has ended: containerd's restart takes NotFound for a shim that never had
   * the container, and throws it away together with its exit.
   */
  pids(): number[] {
    if (this.init.phase === 'stopped' || this.init.pid === 0) return [];
    const directory = this.cgroup === undefined ? undefined : processDirectory(this.cgroup);
    return directory === undefined ? [this.init.pid] : processesIn(directory);
  }

  /** Ends what outlived init; only needed without a pid namespace. */
  async killRest(): Promise<void> {
    try {
      await this.runc('runc kill failed', killWords(this.id, constants.signals.SIGKILL, true));
    } catch (error) {
      if (!hasCode(error, 'NotFound'))
        this.dependencies.log.warn({ error, id: this.id }, 'could not end the rest');
    }
  }

  /** Puts what is known of it where a later shim finds it. */
  save(): void {
    saveContainer(this.bundle, {
      version: 1,
      namespace: this.namespace,
      id: this.id,
      runc: this.dependencies.runc.setup,
      shimPid: process.pid,
      init: this.#saved(this.init),
      execs: [...this.execs.values()].filter(({ pid }) => pid !== 0).map((exec) => this.#saved(exec)),
    });
  }

  async runc(doing: string, words: readonly string[]): Promise<void> {
    await this.dependencies.runc.run({ doing, words, directory: this.bundle });
  }

  #saved(process: TaskProcess): SavedProcess {
    const { exit } = process;
    return {
      id: process.id,
      pid: process.pid,
      startTicks: this.dependencies.platform.processes.startTicks(process.pid)?.toString(),
      io: process.io,
      exit: exit === undefined ? undefined : { status: exit.status, exitedAt: String(exit.exitedAt) },
    };
  }

  #turn(): Promise<Disposable> {
    return this.#lock.acquire('');
  }

  #requireRunning(doing: string): void {
    if (this.init.phase !== 'running')
      throw failedPrecondition(`cannot ${doing} container ${this.id}: it is ${this.init.phase}, not running`);
  }

  async #deleteRunc(wasCreated: boolean): Promise<void> {
    try {
      await this.runc('OCI runtime delete failed', deleteWords(this.id, wasCreated));
    } catch (error) {
      // Deleted before, by a try that did not come to its end.
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }

  async #release(): Promise<void> {
    const { platform } = this.dependencies;
    for (const process of [...this.execs.values(), this.init]) {
      await process.drained(deleteDrainMs);
      await process.closeStreams();
    }
    try {
      unmountAll(platform, this.rootfs, { lazy: true });
    } catch (error) {
      throw new ContainerdError(ContainerdError.from(error).code, `unmount ${this.rootfs}`, { cause: error });
    }
  }
}
