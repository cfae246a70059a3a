/**
 * containerd.services.tasks.v1. As in containerd, a process's `container_id` stays empty and `id` names it, and the
 * filter of List is ignored.
 */
import { create } from '@bufbuild/protobuf';
import type { AnyValue } from '../base/any-value.ts';
import type { Context } from '../base/context.ts';
import { requireNamespace } from '../base/context.ts';
import { type ContainerId, parseContainerId, parseExecId } from '../base/identifiers.ts';
import { containerNotFound } from '../core/containers/container-store.ts';
import type {
  ProcessEnd,
  ProcessIo,
  ProcessState,
  ProcessStatus,
  ProcessTarget,
  TaskManager,
} from '../core/runtime/task-manager.ts';
import { anyFromWire, anyToWire } from '../wire/any.ts';
import { descriptorFromWire, descriptorToWire, mountFromWire } from '../wire/convert.ts';
import {
  type DeleteResponse,
  DeleteResponseSchema,
  Tasks,
} from '../wire/gen/containerd/services/tasks/v1/tasks_pb.js';
import { type Process, ProcessSchema, Status } from '../wire/gen/containerd/types/task/task_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf, timestampOrZero } from '../wire/timestamps.ts';
import { lookup, optionalAny, required } from './convert.ts';

export interface TasksServiceDependencies {
  readonly tasks: TaskManager;
  /** Sees the options of each task that is to be made. */
  readonly noteOptions?: (options: AnyValue) => void;
}

const statuses: Readonly<Record<ProcessStatus, Status>> = {
  unknown: Status.UNKNOWN,
  created: Status.CREATED,
  running: Status.RUNNING,
  stopped: Status.STOPPED,
  paused: Status.PAUSED,
  pausing: Status.PAUSING,
};

const stateToWire = (state: ProcessState): Process =>
  create(ProcessSchema, {
    id: state.id,
    pid: state.pid,
    status: statuses[state.status],
    stdin: state.stdin,
    stdout: state.stdout,
    stderr: state.stderr,
    terminal: state.terminal,
    exitStatus: state.exitStatus,
    exitedAt: timestampOrZero(state.exitedAt),
  });

const endToWire = (id: string, end: ProcessEnd): DeleteResponse =>
  create(DeleteResponseSchema, {
    id,
    pid: end.pid,
    exitStatus: end.exitStatus,
    exitedAt: timestampOrZero(end.exitedAt),
  });

const targetOf = (ctx: Context, request: { containerId: string; execId: string }): ProcessTarget => ({
  containerId: idOf(ctx, request),
  ...(request.execId !== '' && { execId: lookup('process', parseExecId, request.execId) }),
});

const idOf = (ctx: Context, request: { containerId: string }): ContainerId =>
  lookup(
    (id) => containerNotFound(requireNamespace(ctx).namespace, id),
    parseContainerId,
    request.containerId,
  );

const ioOf = ({ stdin, stdout, stderr, terminal }: ProcessIo): ProcessIo => ({
  stdin,
  stdout,
  stderr,
  terminal,
});

export function tasksService({ tasks, noteOptions }: TasksServiceDependencies): ServedService {
  return serve(Tasks, {
    create: async (ctx, request) => {
      const options = anyFromWire(request.options);
      if (options !== undefined) noteOptions?.(options);
      const { pid } = await tasks.create(requireNamespace(ctx), {
        containerId: idOf(ctx, request),
        rootfs: request.rootfs.map(mountFromWire),
        io: ioOf(request),
        checkpoint: request.checkpoint === undefined ? undefined : descriptorFromWire(request.checkpoint),
        options,
        runtimePath: request.runtimePath,
        taskApiAddress: request.taskApiAddress,
        taskApiVersion: request.taskApiVersion,
      });
      return { containerId: request.containerId, pid };
    },
    start: (ctx, request) => tasks.start(requireNamespace(ctx), targetOf(ctx, request)),
    delete: async (ctx, request) => {
      const end = await tasks.delete(requireNamespace(ctx), idOf(ctx, request));
      return endToWire('', end);
    },
    deleteProcess: async (ctx, request) => {
      const execId = lookup('process', parseExecId, request.execId);
      return endToWire(execId, await tasks.deleteProcess(requireNamespace(ctx), idOf(ctx, request), execId));
    },
    get: async (ctx, request) => ({
      process: stateToWire(await tasks.state(requireNamespace(ctx), targetOf(ctx, request))),
    }),
    list: async (ctx) => ({ tasks: (await tasks.list(requireNamespace(ctx))).map(stateToWire) }),
    kill: async (ctx, request) => {
      const { signal, all } = request;
      await tasks.kill(requireNamespace(ctx), targetOf(ctx, request), signal, { all });
      return {};
    },
    exec: async (ctx, request) => {
      const execId = parseExecId(request.execId);
      const spec = required(anyFromWire(request.spec), 'process spec');
      await tasks.exec(requireNamespace(ctx), idOf(ctx, request), execId, spec, ioOf(request));
      return {};
    },
    resizePty: async (ctx, request) => {
      await tasks.resizePty(requireNamespace(ctx), targetOf(ctx, request), request.width, request.height);
      return {};
    },
    closeIO: async (ctx, request) => {
      const target = targetOf(ctx, request);
      // Only stdin can be closed; a request that does not name it asks for nothing.
      if (request.stdin) await tasks.closeIo(requireNamespace(ctx), target);
      return {};
    },
    pause: async (ctx, request) => {
      await tasks.pause(requireNamespace(ctx), idOf(ctx, request));
      return {};
    },
    resume: async (ctx, request) => {
      await tasks.resume(requireNamespace(ctx), idOf(ctx, request));
      return {};
    },
    listPids: async (ctx, request) => ({
      processes: (await tasks.pids(requireNamespace(ctx), idOf(ctx, request))).map(({ pid, info }) => ({
        pid,
        ...optionalAny('info', info),
      })),
    }),
    checkpoint: async (ctx, request) => {
      const options = anyFromWire(request.options);
      const descriptors = await tasks.checkpoint(requireNamespace(ctx), idOf(ctx, request), options);
      return { descriptors: descriptors.map(descriptorToWire) };
    },
    update: async (ctx, request) => {
      const resources = anyFromWire(request.resources);
      await tasks.update(requireNamespace(ctx), idOf(ctx, request), resources, request.annotations);
      return {};
    },
    metrics: async (ctx, { filters }) => ({
      metrics: (await tasks.metrics(requireNamespace(ctx), filters)).map(({ id, timestamp, data }) => ({
        id,
        timestamp: timestampOf(timestamp),
        data: anyToWire(data),
      })),
    }),
    wait: async (ctx, request) => {
      const end = await tasks.wait(requireNamespace(ctx), targetOf(ctx, request));
      return { exitStatus: end.exitStatus, exitedAt: timestampOrZero(end.exitedAt) };
    },
  });
}
