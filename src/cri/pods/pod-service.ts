/** The calls of RuntimeService on pods and containers. Until what was there before is known, all are Unavailable. */
import type { Context } from '../../base/context.ts';
import { unavailable } from '../../base/errors.ts';
import type { StreamManager } from '../../core/runtime/streams/stream-manager.ts';
import type { RuntimeService } from '../../wire/gen/runtime/v1/runtime_pb.js';
import type { Handlers } from '../../wire/service.ts';
import { createContainer } from '../containers/container-create.ts';
import { removeContainer } from '../containers/container-remove.ts';
import { startContainer } from '../containers/container-start.ts';
import { StatsReader } from '../containers/container-stats.ts';
import {
  batchSize,
  containerStatus,
  listContainers,
  streamContainers,
} from '../containers/container-status.ts';
import { stopContainer } from '../containers/container-stop.ts';
import { requireRunning } from '../containers/container-streams.ts';
import { updateContainer } from '../containers/container-update.ts';
import { execSync } from '../containers/exec-sync.ts';
import { inCri } from '../cri-context.ts';
import type { StreamingServer } from '../streaming/streaming-server.ts';
import { removePod } from './pod-remove.ts';
import { runPod } from './pod-run.ts';
import { listPods, podStatus, streamPods } from './pod-status.ts';
import { stopPod } from './pod-stop.ts';
import type { CriWorld } from './world.ts';

export interface PodHandlerDependencies {
  readonly world: CriWorld;
  readonly streams: StreamManager;
  /** `conf_template` with the node's range of addresses. Errors: NotFound, InvalidArgument. */
  readonly fillTemplate: (podCidr: string) => Promise<void>;
  /** Errors: Unavailable. */
  readonly server: () => StreamingServer;
}

/** `isReady` from when recovery has finished. */
export function podHandlers(
  { world, streams, server, fillTemplate }: PodHandlerDependencies,
  isReady: () => boolean,
): Pick<Handlers<typeof RuntimeService>, PodCall> {
  const stats = new StatsReader(world);
  const requireReady = (): void => {
    if (!isReady()) throw unavailable('server is not initialized yet');
  };
  const once =
    <Request, Answer>(call: (ctx: Context, request: Request) => Answer | Promise<Answer>) =>
    async (ctx: Context, request: Request): Promise<Answer> => {
      requireReady();
      return call(ctx, request);
    };
  const streamed = <Request, Answer>(call: (ctx: Context, request: Request) => AsyncIterable<Answer>) =>
    async function* (ctx: Context, request: Request): AsyncGenerator<Answer, void> {
      requireReady();
      yield* call(ctx, request);
    };
  return {
    runPodSandbox: once(async (ctx, request) => ({ podSandboxId: await runPod(world, ctx, request) })),
    podSandboxStatus: once((_ctx, request) => podStatus(world, request)),
    listPodSandbox: once((_ctx, { filter }) => ({ items: listPods(world, filter) })),
    streamPodSandboxes: streamed((_ctx, { filter }) => streamPods(world, filter)),
    stopPodSandbox: once(async (ctx, { podSandboxId }) => {
      await stopPod(world, ctx, podSandboxId);
      return {};
    }),
    removePodSandbox: once(async (ctx, { podSandboxId }) => {
      await removePod(world, ctx, podSandboxId);
      return {};
    }),
    createContainer: once(async (ctx, request) => ({
      containerId: await createContainer(world, ctx, request),
    })),
    startContainer: once(async (ctx, { containerId }) => {
      await startContainer(world, ctx, containerId);
      return {};
    }),
    stopContainer: once(async (ctx, request) => {
      await stopContainer(world, ctx, request);
      return {};
    }),
    removeContainer: once(async (ctx, { containerId }) => {
      await removeContainer(world, ctx, containerId);
      return {};
    }),
    containerStatus: once((_ctx, request) => containerStatus(world, request)),
    listContainers: once((_ctx, { filter }) => ({ containers: listContainers(world, filter) })),
    streamContainers: streamed((_ctx, { filter }) => streamContainers(world, filter)),
    execSync: once((ctx, request) => execSync(world, ctx, request)),
    exec: once((_ctx, { containerId, cmd, tty, stdin, stdout, stderr }) => ({
      url: server().exec({
        containerId: requireRunning(world, containerId).id,
        cmd,
        tty,
        stdin,
        stdout,
        stderr,
      }),
    })),
    attach: once((_ctx, { containerId, tty, stdin, stdout, stderr }) => ({
      url: server().attach({
        containerId: requireRunning(world, containerId).id,
        tty,
        stdin,
        stdout,
        stderr,
      }),
    })),
    updateRuntimeConfig: once(async (_ctx, { runtimeConfig }) => {
      await fillTemplate(runtimeConfig?.networkConfig?.podCidr ?? '');
      return {};
    }),
    updateContainerResources: once(async (ctx, request) => {
      await updateContainer(world, ctx, request);
      return {};
    }),
    reopenContainerLog: once(async (ctx, { containerId }) => {
      await streams.reopenLog(inCri(ctx), { containerId: requireRunning(world, containerId).id });
      return {};
    }),
    containerStats: once(async (ctx, { containerId }) => ({
      stats: await stats.container(ctx, containerId),
    })),
    listContainerStats: once(async (ctx, { filter }) => ({ stats: await stats.containers(ctx, filter) })),
    streamContainerStats: streamed(async function* (ctx, { filter }) {
      for (const containerStats of batches(await stats.containers(ctx, filter))) yield { containerStats };
    }),
    podSandboxStats: once(async (ctx, { podSandboxId }) => ({ stats: await stats.pod(ctx, podSandboxId) })),
    listPodSandboxStats: once(async (ctx, { filter }) => ({ stats: await stats.pods(ctx, filter) })),
    streamPodSandboxStats: streamed(async function* (ctx, { filter }) {
      for (const podSandboxStats of batches(await stats.pods(ctx, filter))) yield { podSandboxStats };
    }),
    getContainerEvents: streamed((ctx) => world.events.subscribe(ctx)),
  };
}

function* batches<Item>(items: Item[]): Generator<Item[], void> {
  for (let at = 0; at < items.length; at += batchSize) yield items.slice(at, at + batchSize);
}

type PodCall =
  | 'updateRuntimeConfig'
  | 'exec'
  | 'attach'
  | 'updateContainerResources'
  | 'reopenContainerLog'
  | 'containerStats'
  | 'listContainerStats'
  | 'streamContainerStats'
  | 'podSandboxStats'
  | 'listPodSandboxStats'
  | 'streamPodSandboxStats'
  | 'runPodSandbox'
  | 'podSandboxStatus'
  | 'listPodSandbox'
  | 'streamPodSandboxes'
  | 'stopPodSandbox'
  | 'removePodSandbox'
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
  | 'containerStatus'
  | 'listContainers'
  | 'streamContainers'
  | 'execSync'
  | 'getContainerEvents';
