/** One task and its processes. Init and execs are handled by the same words; both are a `Process`. */
import { dataLoss } from '../base/errors.ts';
import type { ProcessEnd, ProcessIo, ProcessState } from '../core/runtime/task-manager.ts';
import { anyToWire, jsonTypeUrls, packJson } from '../wire/any.ts';
import { Tasks } from '../wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { instantOf } from '../wire/timestamps.ts';
import { noStreams } from './process-io.ts';
import { stateOf } from './process-state.ts';
import type { Call, Scope } from './scope.ts';

/** A process in a task. Every call answers NotFound when there is none. */
export class Process {
  protected readonly scope: Scope;
  readonly containerId: string;
  /** "" for init. */
  readonly execId: string;

  constructor({ scope }: { scope: Scope }, { containerId, execId }: { containerId: string; execId: string }) {
    this.scope = scope;
    this.containerId = containerId;
    this.execId = execId;
  }

  /** Runs what was created. Returns the pid on the daemon's machine. */
  async start(call?: Call): Promise<number> {
    return (await this.client().start(this.#target(), this.scope.options(call))).pid;
  }

  async state(call?: Call): Promise<ProcessState> {
    const { process } = await this.client().get(this.#target(), this.scope.options(call));
    if (process === undefined) throw dataLoss(`the daemon answered without the state of ${this.containerId}`);
    return stateOf(process);
  }

  /** Resolves when it has ended; at once when it has already. Ask before `start` to miss nothing. */
  async wait(call?: Call): Promise<Pick<ProcessEnd, 'exitStatus' | 'exitedAt'>> {
    const { exitStatus, exitedAt } = await this.client().wait(this.#target(), this.scope.options(call));
    return { exitStatus, exitedAt: instantOf(exitedAt) };
  }

  /** `all` reaches every process of the container. Errors: NotFound when it has ended. */
  async kill(signal: number, { all = false, ...call }: Call & { all?: boolean } = {}): Promise<void> {
    await this.client().kill({ ...this.#target(), signal, all }, this.scope.options(call));
  }

  async resize(size: { columns: number; rows: number }, call?: Call): Promise<void> {
    const request = { ...this.#target(), width: size.columns, height: size.rows };
    await this.client().resizePty(request, this.scope.options(call));
  }

  /** The shim lets go of stdin: the process reads end of file once we have closed our end too. */
  async closeStdin(call?: Call): Promise<void> {
    await this.client().closeIO({ ...this.#target(), stdin: true }, this.scope.options(call));
  }

  protected client() {
    return this.scope.client(Tasks);
  }

  #target() {
    return { containerId: this.containerId, execId: this.execId };
  }
}

export interface ExecOptions extends Call {
  readonly execId: string;
  /** The OCI process as a plain value. */
  readonly process: unknown;
  readonly io?: ProcessIo;
}

export class Exec extends Process {
  /** Forgets it; it must have ended. Errors: FailedPrecondition while it runs. */
  async delete(call?: Call): Promise<ProcessEnd> {
    const { containerId, execId } = this;
    const answer = await this.client().deleteProcess({ containerId, execId }, this.scope.options(call));
    return { pid: answer.pid, exitStatus: answer.exitStatus, exitedAt: instantOf(answer.exitedAt) };
  }
}

export class Task extends Process {
  constructor(dependencies: { scope: Scope }, { containerId }: { containerId: string }) {
    super(dependencies, { containerId, execId: '' });
  }

  /** Registers a further process; `start` runs it. Errors: AlreadyExists, FailedPrecondition when init has ended. */
  async exec({ execId, process, io = noStreams, ...call }: ExecOptions): Promise<Exec> {
    const { containerId } = this;
    const spec = anyToWire(packJson(jsonTypeUrls.process, process));
    await this.client().exec({ containerId, execId, spec, ...io }, this.scope.options(call));
    return new Exec({ scope: this.scope }, { containerId, execId });
  }

  /** Removes the task; its container record stays. Errors: FailedPrecondition while it runs. */
  async delete(call?: Call): Promise<ProcessEnd> {
    const { containerId } = this;
    const answer = await this.client().delete({ containerId }, this.scope.options(call));
    return { pid: answer.pid, exitStatus: answer.exitStatus, exitedAt: instantOf(answer.exitedAt) };
  }

  async pause(call?: Call): Promise<void> {
    await this.client().pause({ containerId: this.containerId }, this.scope.options(call));
  }

  async resume(call?: Call): Promise<void> {
    await this.client().resume({ containerId: this.containerId }, this.scope.options(call));
  }

  /** Pids on the daemon's machine of every process in it. */
  async pids(call?: Call): Promise<number[]> {
    const { containerId } = this;
    const { processes } = await this.client().listPids({ containerId }, this.scope.options(call));
    return processes.map(({ pid }) => pid);
  }

  /** New limits; a value like `linux.resources` of the runtime spec. */
  async update(resources: unknown, call?: Call): Promise<void> {
    const { containerId } = this;
    const wire = anyToWire(packJson(jsonTypeUrls.linuxResources, resources));
    await this.client().update({ containerId, resources: wire }, this.scope.options(call));
  }
}
