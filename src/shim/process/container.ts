/**
 * One container of the shim: its init, its execs, and what may be done with them. The stories that make it are beside:
 * container-create.ts, exec-start.ts; its end is told in container-exit.ts.
 *
 * Calls that change it take turns (`#turn`); kill does not wait, for it must get through when another call hangs.
 */
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { absent, alreadyExists, hasCode, unknown, wrap } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Announced, SavedContainer, SavedMount } from '../../oci/shim-state.ts';
import type { CgroupPaths } from '../../platform/cgroups/cgroup-paths.ts';
import { cgroupProcesses } from '../../platform/cgroups/cgroup-processes.ts';
import type { OomWatch } from '../../platform/cgroups/oom-watch.ts';
import type { Platform } from '../../platform/platform.ts';
import {
  TaskDeleteSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from '../../wire/gen/containerd/events/task_pb.js';
import { timestampOrZero } from '../../wire/timestamps.ts';
import type { SpecFacts } from '../bundle/spec.ts';
import type { EventPublisher } from '../event-publisher.ts';
import type { Runc } from '../runc/runc.ts';
import { type CheckpointWords, checkpointWords, killWords } from '../runc/runc-arguments.ts';
import { processDirectory, savedCgroup } from './cgroup.ts';
import { ContainerNotes } from './container-notes.ts';
import type { CreateOptions } from './options.ts';
import type { RootfsMounts } from './rootfs-mounts.ts';
import type { ProcessEnd, TaskProcess } from './task-process.ts';
import {
  type ContainerPhase,
  wrongContainerState,
  wrongExecState,
  wrongProcessState,
} from './wrong-state.ts';

export interface ContainerDependencies {
  readonly platform: Platform;
  readonly runc: Runc;
  readonly events: EventPublisher;
  readonly rootfs: RootfsMounts;
  readonly log: Logger;
}

export interface ContainerIdentity {
  readonly namespace: string;
  readonly id: string;
  readonly bundle: string;
}

export interface ContainerMade {
  readonly options: CreateOptions;
  readonly spec: Pick<SpecFacts, 'ownPidNamespace'>;
  readonly init: TaskProcess;
  readonly rootfs: readonly SavedMount[];
  /** Directory of a dump that the start restores; "" for none. */
  readonly checkpoint: string;
  readonly heldIn: string;
  /** Called when nothing of it is left to do or to tell. */
  readonly letGo: () => void;
}

/** Terminal output that a client has not taken by then is cut. */
const deleteDrainMs = 10_000;

export class Container {
  readonly namespace: string;
  readonly id: string;
  readonly bundle: string;
  readonly dependencies: ContainerDependencies;
  readonly made: ContainerMade;
  readonly init: TaskProcess;
  readonly notes: ContainerNotes;
  readonly execs = new Map<string, TaskProcess>();
  cgroup: CgroupPaths | undefined;
  oom: OomWatch | undefined;
  /** Kills for want of memory that the daemon knows of. */
  oomKillsTold = 0;
  paused = false;
  /** Starts a container that was made from a checkpoint: restore takes the place of start. */
  restore: (() => Promise<void>) | undefined;
  /** Deleted execs whose exit the daemon has not taken yet. */
  readonly #leaving = new Set<TaskProcess>();
  readonly #lock = new KeyedLock();

  constructor(dependencies: ContainerDependencies, identity: ContainerIdentity, made: ContainerMade) {
    this.dependencies = dependencies;
    this.namespace = identity.namespace;
    this.id = identity.id;
    this.bundle = identity.bundle;
    this.made = made;
    this.init = made.init;
    const { platform, log } = dependencies;
    this.notes = new ContainerNotes({ platform, log, state: () => this.#state() }, identity.bundle);
  }

  get options(): CreateOptions {
    return this.made.options;
  }

  /** Where the pidfd of a process is kept, so that its exit code outlives the shim. */
  pinOf(process: TaskProcess): string {
    return join(this.bundle, process === this.init ? 'init.pin' : `exec-${process.id}.pin`);
  }

  /** Directory for the streams of a process that pass through the shim. */
  streamsOf(process: TaskProcess): string {
    return join(this.bundle, 'streams', process === this.init ? 'init' : `exec-${process.id}`);
  }

  get rootfs(): string {
    return join(this.bundle, 'rootfs');
  }

  /** Init for "". Errors: NotFound. */
  process(execId: string): TaskProcess {
    if (execId === '') return this.init;
    const exec = this.execs.get(execId);
    if (exec === undefined) throw absent(`process does not exist ${execId}`);
    return exec;
  }

  /** How it stands, as its state says. */
  get phase(): ContainerPhase {
    return this.init.phase === 'running' && this.paused ? 'paused' : this.init.phase;
  }

  /** Errors: AlreadyExists; Unknown when nothing can run in it now. */
  addExec(exec: TaskProcess): void {
    if (this.execs.has(exec.id)) throw alreadyExists('process', `${exec.id} of container ${this.id}`);
    if (this.phase === 'paused' || this.phase === 'stopped') throw wrongExecState(this.phase);
    this.execs.set(exec.id, exec);
  }

  /** Errors: Unknown when it was started before; as runc says. */
  async start(): Promise<number> {
    using _turn = await this.#turn();
    if (this.phase === 'paused') throw wrongProcessState('start', 'paused');
    await this.init.startOnce(async () => {
      this.#step('starting');
      try {
        if (this.restore !== undefined) await this.restore();
        else await this.dependencies.runc.start(this.id, this.bundle);
      } catch (error) {
        this.#step('created');
        throw error;
      }
      this.#step('running');
      this.announceStart();
    });
    return this.init.pid;
  }

  announceStart(): void {
    this.announce(this.init, 'started', '/tasks/start', TaskStartSchema, {
      containerId: this.id,
      pid: this.init.pid,
    });
  }

  /** Errors: NotFound when the process has ended, FailedPrecondition before it has a pid. */
  async kill(execId: string, signal: number, all: boolean): Promise<void> {
    const target = this.process(execId);
    const pid = target.requireAlive();
    const { processes } = this.dependencies.platform;
    // An adopted process is reaped by somebody else, and its pid is free before we hear of it.
    if (target.isAdopted && processes.startTicks(pid) !== target.startTicks)
      throw absent('process already finished');
    // runc knows the cgroup, and thaws what is frozen so that it can die.
    if (execId === '' && (all || this.paused)) await this.#runcKill(signal, all);
    // Not reaped yet, so the pid is still its own.
    else await this.#kill(pid, signal, execId);
  }

  async #kill(pid: number, signal: number, execId: string): Promise<void> {
    try {
      this.dependencies.platform.processes.kill(pid, signal);
    } catch (error) {
      if (!hasCode(error, 'InvalidArgument')) throw error;
      // No such signal: runc has the words for it.
      if (execId !== '') throw unknown('unknown error after kill: invalid argument', error);
      await this.#runcKill(signal, false);
    }
  }

  async #runcKill(signal: number, all: boolean): Promise<void> {
    const doing = 'unknown error after kill: runc did not terminate successfully: exit status 1';
    await this.runc(doing, killWords(this.id, signal, all));
  }

  /** Errors: NotFound. */
  closeStdin(execId: string): void {
    const target = this.process(execId);
    target.closeStdin();
    // A later shim must not open it again.
    this.notes.trySave();
  }

  /**
   * Takes the container away. Waits for its exit to be announced.
   * Errors: Unknown while it runs; as runc says.
   */
  async delete(): Promise<ProcessEnd> {
    using _turn = await this.#turn();
    if (this.init.phase === 'running')
      throw wrap('failed to delete task', wrongProcessState('delete', this.phase));
    const wasCreated = this.init.phase === 'created' && this.init.pid !== 0;
    await this.#deleteRunc(wasCreated);
    const end =
      this.init.pid === 0 ? { pid: 0, status: 0, exitedAt: undefined } : await this.init.ended.promise;
    await this.#release();
    this.#step('deleted');
    this.announceDelete(end);
    return end;
  }

  /** Lets go of it when the daemon has taken the news. */
  announceDelete(end: ProcessEnd): void {
    this.notes.end();
    const event = {
      containerId: this.id,
      pid: end.pid,
      exitStatus: end.status,
      exitedAt: timestampOrZero(end.exitedAt),
      id: '',
    };
    const { events } = this.dependencies;
    events.publish(this.namespace, '/tasks/delete', TaskDeleteSchema, event, () => this.made.letGo());
  }

  /** Errors: NotFound; Unknown while it runs. */
  async deleteExec(execId: string): Promise<ProcessEnd> {
    const exec = this.process(execId);
    if (exec.phase === 'running') throw wrongProcessState('delete', 'running');
    await exec.starting;
    const end =
      exec.phase === 'created' ? { pid: 0, status: 0, exitedAt: undefined } : await exec.ended.promise;
    await exec.drained(deleteDrainMs);
    await exec.closeStreams();
    this.execs.delete(execId);
    exec.step = 'deleted';
    if (exec.pid !== 0 && exec.announced !== 'exited') this.#leaving.add(exec);
    this.notes.trySave();
    return end;
  }

  async pause(): Promise<void> {
    using _turn = await this.#turn();
    if (this.phase !== 'running') throw wrongContainerState('pause', this.phase);
    await this.runc('OCI runtime pause failed', ['pause', this.id]);
    this.markPaused(true);
  }

  /** Says that it was paused or goes on. */
  markPaused(paused: boolean): void {
    this.paused = paused;
    this.notes.trySave();
    const { events } = this.dependencies;
    const containerId = this.id;
    if (paused) events.publish(this.namespace, '/tasks/paused', TaskPausedSchema, { containerId });
    else events.publish(this.namespace, '/tasks/resumed', TaskResumedSchema, { containerId });
  }

  async resume(): Promise<void> {
    using _turn = await this.#turn();
    if (this.phase !== 'paused') throw wrongContainerState('resume', this.phase);
    await this.runc('OCI runtime resume failed', ['resume', this.id]);
    this.markPaused(false);
  }

  /** `resources` is a runtime spec's linux.resources, as JSON text. */
  async update(resources: Uint8Array): Promise<void> {
    using _turn = await this.#turn();
    if (this.phase === 'stopped') throw wrongContainerState('update', this.phase);
    const path = join(this.bundle, 'resources.json');
    writeFileSync(path, resources, { mode: 0o600 });
    await this.runc('OCI runtime update failed', ['update', '--resources', path, this.id]);
  }

  async checkpoint(words: Omit<CheckpointWords, 'id'>): Promise<void> {
    using _turn = await this.#turn();
    if (this.phase === 'created' || this.phase === 'stopped')
      throw wrongContainerState('checkpoint', this.phase);
    await this.runc('OCI runtime checkpoint failed', checkpointWords({ ...words, id: this.id }));
  }

  /**
   * Processes of the container; none when it has ended: containerd's restart takes NotFound for a shim that never had
   * the container, and throws it away together with its exit.
   */
  pids(): number[] {
    if (this.init.phase === 'stopped' || this.init.pid === 0) return [];
    const directory = this.cgroup === undefined ? undefined : processDirectory(this.cgroup);
    return directory === undefined ? [this.init.pid] : cgroupProcesses(directory);
  }

  /** Ends what outlived init; only needed without a pid namespace. */
  async killRest(): Promise<void> {
    try {
      await this.#runcKill(constants.signals.SIGKILL, true);
    } catch (error) {
      if (!hasCode(error, 'NotFound'))
        this.dependencies.log.warn({ error, id: this.id }, 'could not end the rest');
    }
  }

  /** Publishes an event of a process's life, and notes in the bundle that the daemon took it. */
  announce<Schema extends DescMessage>(
    process: TaskProcess,
    step: Announced,
    topic: string,
    schema: Schema,
    event: MessageInitShape<Schema>,
  ): void {
    this.dependencies.events.publish(this.namespace, topic, schema, event, () => {
      process.announced = step;
      if (step === 'exited') this.#leaving.delete(process);
      this.notes.saveSoon();
    });
  }

  async runc(doing: string, words: readonly string[]): Promise<void> {
    await this.dependencies.runc.run({ doing, words, directory: this.bundle });
  }

  #state(): SavedContainer {
    return {
      version: 2,
      namespace: this.namespace,
      id: this.id,
      options: this.options,
      heldIn: this.made.heldIn,
      rootfs: this.made.rootfs,
      checkpoint: this.made.checkpoint,
      cgroup: savedCgroup(this.cgroup),
      paused: this.paused,
      oomKills: this.oomKillsTold,
      init: this.init.saved(),
      execs: [...this.execs.values(), ...this.#leaving].map((exec) => exec.saved()),
    };
  }

  #step(step: TaskProcess['step']): void {
    // Whoever saw its end knows better.
    if (step === 'deleted' || this.init.step !== 'stopped') this.init.step = step;
    this.notes.trySave();
  }

  #turn(): Promise<Disposable> {
    return this.#lock.acquire('');
  }

  async #deleteRunc(wasCreated: boolean): Promise<void> {
    try {
      await this.dependencies.runc.delete(this.id, this.bundle, { force: wasCreated });
    } catch (error) {
      // Deleted before, by a try that did not come to its end.
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }

  async #release(): Promise<void> {
    this.oom?.[Symbol.dispose]();
    for (const process of [...this.execs.values(), this.init]) {
      await process.drained(deleteDrainMs);
      await process.closeStreams();
      this.notes.unpin(this.pinOf(process));
    }
    this.dependencies.rootfs.unmount(this.made.rootfs, this.rootfs);
  }
}
