/**
 * Tasks: running containers and their processes, over shims. Implemented in this folder (see ARCHITECTURE.md).
 * Events of tasks come from the shims, not from here, but for those that a dead shim can no longer send.
 */
import type { AnyValue } from '../../base/any-value.ts';
import type { NamespacedContext } from '../../base/context.ts';
import type { ContainerId, ExecId } from '../../base/identifiers.ts';
import type { Instant } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Mount } from '../../platform/mount.ts';
import type { StuckCall } from './calls/outstanding-calls.ts';

export type ProcessStatus = 'unknown' | 'created' | 'running' | 'stopped' | 'paused' | 'pausing';

export interface ProcessState {
  /** The container's id for init, the exec id otherwise. */
  readonly id: string;
  readonly pid: number;
  readonly status: ProcessStatus;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  readonly exitStatus: number;
  readonly exitedAt: Instant | undefined;
}

export interface ProcessEnd {
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAt: Instant | undefined;
}

/** Paths of FIFOs or log URIs (`fifo`, `file`, `binary`); "" for none. */
export interface ProcessIo {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

export interface CreateTask {
  readonly containerId: ContainerId;
  readonly rootfs: readonly Mount[];
  readonly io: ProcessIo;
  readonly checkpoint: Descriptor | undefined;
  readonly options: AnyValue | undefined;
  /** Overrides the shim binary. */
  readonly runtimePath: string;
  readonly taskApiAddress: string;
  readonly taskApiVersion: number;
}

/** A process of a task: init without execId. */
export interface ProcessTarget {
  readonly containerId: ContainerId;
  readonly execId?: ExecId;
}

export interface TaskMetric {
  readonly id: ContainerId;
  readonly timestamp: Instant;
  readonly data: AnyValue;
}

/** Every call on an unknown task: NotFound. */
export interface TaskManager {
  /** Errors: NotFound (container), AlreadyExists (task). Returns init's pid; it does not run yet. */
  create(ctx: NamespacedContext, request: CreateTask): Promise<{ pid: number }>;
  start(ctx: NamespacedContext, target: ProcessTarget): Promise<{ pid: number }>;
  /** Errors: FailedPrecondition while it runs. */
  delete(ctx: NamespacedContext, id: ContainerId): Promise<ProcessEnd>;
  deleteProcess(ctx: NamespacedContext, id: ContainerId, execId: ExecId): Promise<ProcessEnd>;
  state(ctx: NamespacedContext, target: ProcessTarget): Promise<ProcessState>;
  /** Tasks that vanish meanwhile are left out. */
  list(ctx: NamespacedContext): Promise<ProcessState[]>;
  /** Errors: NotFound when the process has ended. */
  kill(
    ctx: NamespacedContext,
    target: ProcessTarget,
    signal: number,
    options: { all: boolean },
  ): Promise<void>;
  /** Registers an exec; start runs it. Errors: AlreadyExists, FailedPrecondition (init ended). */
  exec(ctx: NamespacedContext, id: ContainerId, execId: ExecId, spec: AnyValue, io: ProcessIo): Promise<void>;
  resizePty(ctx: NamespacedContext, target: ProcessTarget, width: number, height: number): Promise<void>;
  closeIo(ctx: NamespacedContext, target: ProcessTarget): Promise<void>;
  pause(ctx: NamespacedContext, id: ContainerId): Promise<void>;
  resume(ctx: NamespacedContext, id: ContainerId): Promise<void>;
  pids(ctx: NamespacedContext, id: ContainerId): Promise<{ pid: number; info: AnyValue | undefined }[]>;
  update(
    ctx: NamespacedContext,
    id: ContainerId,
    resources: AnyValue | undefined,
    annotations: Readonly<Record<string, string>>,
  ): Promise<void>;
  /** Filters over id, namespace. */
  metrics(ctx: NamespacedContext, filters: readonly string[]): Promise<TaskMetric[]>;
  wait(ctx: NamespacedContext, target: ProcessTarget): Promise<ProcessEnd>;
  /** Calls of the namespace that have passed their deadline, the oldest first. */
  stuck(ctx: NamespacedContext): StuckCall[];
  /** Descriptors of the dump in the content store; none when options name an image path. */
  checkpoint(ctx: NamespacedContext, id: ContainerId, options: AnyValue | undefined): Promise<Descriptor[]>;
}
