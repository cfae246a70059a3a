/**
 * The task API, versions 2 and 3: the same messages under two names, so the same handlers. The namespace comes with
 * each call, because one shim serves several; containerd 1.6 sends none and means the one that it started the shim with.
 */
import { join } from 'node:path';
import { raceSignal } from '../base/bounded-wait.ts';
import type { Context } from '../base/context.ts';
import { failedPrecondition, invalidArgument } from '../base/errors.ts';
import { parseContainerId, parseExecId } from '../base/identifiers.ts';
import { readCgroupMetrics } from '../platform/cgroups/cgroup-metrics.ts';
import { anyFromWire, anyToWire, jsonTypeUrls, packAny } from '../wire/any.ts';
import { MetricsSchema as MetricsV1Schema } from '../wire/gen/containerd/cgroups/v1/metrics_pb.js';
import { MetricsSchema as MetricsV2Schema } from '../wire/gen/containerd/cgroups/v2/metrics_pb.js';
import { Task as TaskV2 } from '../wire/gen/containerd/runtime/task/v2/shim_pb.js';
import { Task as TaskV3 } from '../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import {
  CheckpointOptionsSchema,
  ProcessDetailsSchema,
} from '../wire/gen/containerd/types/runc/options/oci_pb.js';
import { Status } from '../wire/gen/containerd/types/task/task_pb.js';
import { type Handlers, type ServedService, serve } from '../wire/service.ts';
import { timestampOrZero } from '../wire/timestamps.ts';
import type { Container } from './process/container.ts';
import { addExec, startExec } from './process/exec-start.ts';
import { readOptions, unpackOptions } from './process/options.ts';
import type { ProcessEnd, TaskProcess } from './process/task-process.ts';
import type { Shim } from './shim.ts';

/** Both versions, ready to be served. */
export function taskServices(shim: Shim): ServedService[] {
  const handlers = shim.calls.track(taskHandlers(shim));
  return [serve(TaskV3, handlers), { service: TaskV2, handlers }];
}

function taskHandlers(shim: Shim): Handlers<typeof TaskV3> {
  const find = (ctx: Context, { id }: { readonly id: string }): Container =>
    shim.get(shim.namespaceOf(ctx), id);
  return {
    ...lifeHandlers(shim, find),
    ...processHandlers(find),
    ...resourceHandlers(find),
    connect: async (ctx, request) => {
      const { init } = find(ctx, request);
      return { shimPid: process.pid, taskPid: init.pid, version: '' };
    },
    shutdown: async (_ctx, { now }) => {
      shim.shutdown({ now });
      return {};
    },
  };
}

type Find = (ctx: Context, request: { readonly id: string }) => Container;

const endOnWire = ({ pid, status, exitedAt }: ProcessEnd) => ({
  pid,
  exitStatus: status,
  exitedAt: timestampOrZero(exitedAt),
});

function lifeHandlers(shim: Shim, find: Find) {
  return {
    create: async (ctx, request) => {
      const namespace = shim.namespaceOf(ctx);
      const options = readOptions(anyFromWire(request.options), namespace, shim.options.runcRoot);
      const container = await shim.create({
        namespace,
        id: parseContainerId(request.id),
        bundle: request.bundle,
        rootfs: request.rootfs,
        io: {
          stdin: request.stdin,
          stdout: request.stdout,
          stderr: request.stderr,
          terminal: request.terminal,
        },
        checkpoint: request.checkpoint === '' ? options.criuImagePath : request.checkpoint,
        options,
      });
      return { pid: container.init.pid };
    },
    start: async (ctx, request) => {
      const container = find(ctx, request);
      return {
        pid: await (request.execId === '' ? container.start() : startExec(container, request.execId)),
      };
    },
    delete: async (ctx, request) => {
      const container = find(ctx, request);
      if (request.execId !== '') return endOnWire(await container.deleteExec(request.execId));
      const end = await container.delete();
      shim.remove(container);
      return endOnWire(end);
    },
    exec: async (ctx, request) => {
      const spec = anyFromWire(request.spec);
      if (spec === undefined || spec.typeUrl !== jsonTypeUrls.process)
        throw invalidArgument(`exec needs a process of type ${jsonTypeUrls.process}`);
      const container = find(ctx, request);
      const { stdin, stdout, stderr, terminal } = request;
      const added = {
        execId: parseExecId(request.execId),
        spec: spec.value,
        io: { stdin, stdout, stderr, terminal },
      };
      shim.noteClamped(addExec(container, added, shim.allowance), container.id);
      return {};
    },
  } satisfies Handlers<typeof TaskV3>;
}

function processHandlers(find: Find) {
  return {
    state: async (ctx, request) => {
      const container = find(ctx, request);
      return stateOf(container, container.process(request.execId), request.execId);
    },
    kill: async (ctx, request) => {
      await find(ctx, request).kill(request.execId, request.signal, request.all);
      return {};
    },
    wait: async (ctx, request) => {
      const { ended } = find(ctx, request).process(request.execId);
      const { status, exitedAt } = await raceSignal(ended.promise, ctx.signal);
      return { exitStatus: status, exitedAt: timestampOrZero(exitedAt) };
    },
    resizePty: async (ctx, request) => {
      const size = { columns: request.width, rows: request.height };
      find(ctx, request).process(request.execId).resize(size);
      return {};
    },
    closeIO: async (ctx, request) => {
      const container = find(ctx, request);
      if (request.stdin) container.closeStdin(request.execId);
      return {};
    },
    pids: async (ctx, request) => {
      const container = find(ctx, request);
      const execs = new Map([...container.execs.values()].map((exec) => [exec.pid, exec.id]));
      return {
        processes: container.pids().map((pid) => {
          const execId = execs.get(pid);
          if (execId === undefined) return { pid };
          return { pid, info: anyToWire(packAny(ProcessDetailsSchema, { execId })) };
        }),
      };
    },
  } satisfies Handlers<typeof TaskV3>;
}

function statusOf(container: Container, target: TaskProcess): Status {
  switch (target.phase) {
    case 'created':
      return Status.CREATED;
    case 'running':
      return container.paused && target === container.init ? Status.PAUSED : Status.RUNNING;
    case 'stopped':
    default:
      return Status.STOPPED;
  }
}

const stateOf = (container: Container, target: TaskProcess, execId: string) => ({
  id: container.id,
  bundle: container.bundle,
  pid: target.pid,
  status: statusOf(container, target),
  stdin: target.io.stdin,
  stdout: target.io.stdout,
  stderr: target.io.stderr,
  terminal: target.io.terminal,
  exitStatus: target.exit?.status ?? 0,
  exitedAt: timestampOrZero(target.exit?.exitedAt),
  execId,
});

function resourceHandlers(find: Find) {
  return {
    pause: async (ctx, request) => {
      await find(ctx, request).pause();
      return {};
    },
    resume: async (ctx, request) => {
      await find(ctx, request).resume();
      return {};
    },
    update: async (ctx, request) => {
      const resources = anyFromWire(request.resources);
      if (resources === undefined || resources.typeUrl !== jsonTypeUrls.linuxResources)
        throw invalidArgument(`update needs resources of type ${jsonTypeUrls.linuxResources}`);
      await find(ctx, request).update(resources.value);
      return {};
    },
    stats: async (ctx, request) => {
      const { cgroup, id } = find(ctx, request);
      if (cgroup === undefined)
        throw failedPrecondition(`container ${id} has no cgroup of its own, so there is nothing to measure`);
      const read = readCgroupMetrics(cgroup);
      const stats =
        read.version === 1 ? packAny(MetricsV1Schema, read.metrics) : packAny(MetricsV2Schema, read.metrics);
      return { stats: anyToWire(stats) };
    },
    checkpoint: async (ctx, request) => {
      const container = find(ctx, request);
      const given = anyFromWire(request.options);
      const options =
        given === undefined ? undefined : unpackOptions(CheckpointOptionsSchema, given, 'checkpoint');
      await container.checkpoint({
        imagePath: request.path === '' ? (options?.imagePath ?? '') : request.path,
        workPath: options?.workPath || container.options.criuWorkPath || join(container.bundle, 'criu-work'),
        parentPath: options?.parentPath ?? '',
        leaveRunning: !(options?.exit ?? false),
        openTcp: options?.openTcp ?? false,
        externalUnixSockets: options?.externalUnixSockets ?? false,
        terminal: options?.terminal ?? false,
        fileLocks: options?.fileLocks ?? false,
        emptyNamespaces: options?.emptyNamespaces ?? [],
        cgroupsMode: options?.cgroupsMode ?? '',
      });
      return {};
    },
  } satisfies Handlers<typeof TaskV3>;
}
