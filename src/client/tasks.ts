/** Tasks: containers that run. `tasks.create` makes one of a container record, `task(id)` names one that is there. */
import type { AnyValue } from '../base/any-value.ts';
import { hasCode } from '../base/errors.ts';
import type { Instant } from '../base/time.ts';
import type { ProcessIo, ProcessState } from '../core/runtime/task-manager.ts';
import type { Mount } from '../platform/mount.ts';
import { anyToWire } from '../wire/any.ts';
import { mountToWire } from '../wire/convert.ts';
import { Tasks } from '../wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { Runtime } from '../wire/gen/gantry/runtime/v1/runtime_pb.js';
import { knownInstantOf } from './convert.ts';
import { noStreams } from './process-io.ts';
import { stateOf } from './process-state.ts';
import type { Call, Scope } from './scope.ts';
import { Exec, Task } from './task.ts';

export interface TaskOptions extends Call {
  /** Mounts that make the root file system: those of the container's snapshot. */
  readonly rootfs: readonly Mount[];
  /** Paths or log URIs of the streams; none by default. */
  readonly io?: ProcessIo;
  /** Options of the runtime; those of the container when absent. */
  readonly options?: AnyValue;
}

export interface TaskMetrics {
  readonly id: string;
  readonly timestamp: Instant;
  /** `io.containerd.cgroups.v1.Metrics` or `.v2.Metrics`. */
  readonly data: AnyValue;
}

export interface StuckTask {
  readonly containerId: string;
  /** "" when it is about init. */
  readonly execId: string;
  /** Of the shim's task API; "exit" for a process that was killed and does not end. */
  readonly call: string;
  readonly since: Instant;
  readonly ageMs: number;
  /** What the daemon did about it last, and what came of that; "" before the first step. */
  readonly step: string;
  readonly reason: string;
}

export class TasksClient {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** Init is made and waits for `start`. Errors: NotFound (container), AlreadyExists (task). */
  async create(
    containerId: string,
    { rootfs, io = noStreams, options, ...call }: TaskOptions,
  ): Promise<Task> {
    await this.#scope.client(Tasks).create(
      {
        containerId,
        rootfs: rootfs.map(mountToWire),
        ...io,
        ...(options === undefined ? {} : { options: anyToWire(options) }),
      },
      this.#scope.options(call),
    );
    return this.task(containerId);
  }

  /** Asks nobody: the calls on it answer NotFound when there is none. */
  task(containerId: string): Task {
    return new Task({ scope: this.#scope }, { containerId });
  }

  /** The same for a process that was added by `Task.exec`. */
  exec(containerId: string, execId: string): Exec {
    return new Exec({ scope: this.#scope }, { containerId, execId });
  }

  async list(call?: Call): Promise<ProcessState[]> {
    const { tasks } = await this.#scope.client(Tasks).list({}, this.#scope.options(call));
    return tasks.map(stateOf);
  }

  /** Tasks with a call into their shim that does not come back, the oldest first. None against a containerd, which does not say. */
  async stuck(call?: Call): Promise<StuckTask[]> {
    try {
      const { tasks } = await this.#scope.client(Runtime).listStuck({}, this.#scope.options(call));
      return tasks.map((task) => ({
        containerId: task.containerId,
        execId: task.execId,
        call: task.call,
        since: knownInstantOf(task.since),
        ageMs: Number(task.ageMs),
        step: task.step,
        reason: task.reason,
      }));
    } catch (error) {
      if (hasCode(error, 'Unimplemented')) return [];
      throw error;
    }
  }

  /** One for each running task that passes the filters (over id and namespace). */
  async metrics(filters: readonly string[] = [], call?: Call): Promise<TaskMetrics[]> {
    const request = { filters: [...filters] };
    const { metrics } = await this.#scope.client(Tasks).metrics(request, this.#scope.options(call));
    return metrics.map(({ id, timestamp, data }) => ({
      id,
      timestamp: knownInstantOf(timestamp),
      data: { typeUrl: data?.typeUrl ?? '', value: data?.value ?? new Uint8Array() },
    }));
  }
}
