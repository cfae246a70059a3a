/**
 * What the daemon knows of pods and containers after it was stopped or killed: their records, and what their tasks say.
 * What nobody was told of is taken away; so is what belongs to nothing. One that cannot be read is told to the log and
 * left alone.
 */
import { readdirSync } from 'node:fs';
import { forCleanup, type NamespacedContext } from '../../base/context.ts';
import { parseContainerId } from '../../base/identifiers.ts';
import { now } from '../../base/time.ts';
import type { Container } from '../../core/containers/container-store.ts';
import type { ProcessState } from '../../core/runtime/task-manager.ts';
import type { Sandbox } from '../../core/sandboxes/sandbox-store.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { ContainerState } from '../../wire/gen/runtime/v1/container_pb.js';
import {
  type ContainerProgress,
  type CriContainer,
  containerExtension,
  containerName,
  containerRecordOf,
  stateOf,
} from '../containers/container.ts';
import { discard } from '../containers/container-remove.ts';
import { finish, lostEnd, watchContainer } from '../containers/container-watch.ts';
import { inCri } from '../cri-context.ts';
import { podExtension, podName, podRecordOf } from './pod.ts';
import { discardPod } from './pod-remove.ts';
import { watchPod } from './pod-watch.ts';
import { type CriWorld, messageOf, unlessAbsent } from './world.ts';

const eachMs = 60_000;

/** Errors: those of the stores. */
export async function recover(world: CriWorld): Promise<void> {
  const ctx = inCri(world.background);
  const sandboxes = await world.sandboxes.list(ctx, []);
  const ours = sandboxes.filter(({ extensions }) => extensions[podExtension] !== undefined);
  await each(ctx, ours, 'pod', (sandbox) => recoverPod(world, forCleanup(ctx, eachMs), sandbox));
  const containers = await world.records.list(ctx, ['labels."io.cri-containerd.kind"==container']);
  await each(ctx, containers, 'container', (container) =>
    recoverContainer(world, forCleanup(ctx, eachMs), container),
  );
  await dropOrphans(world, ctx, new Set(sandboxes.map(({ id }): string => id)));
}

async function each<Item extends { readonly id: string }>(
  ctx: NamespacedContext,
  items: readonly Item[],
  what: string,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  for (const item of items)
    try {
      await work(item);
    } catch (error) {
      ctx.log.warn({ [what]: item.id, error: messageOf(error) }, `a ${what} could not be taken over`);
    }
}

async function recoverPod(
  world: CriWorld,
  ctx: NamespacedContext,
  { id, extensions }: Sandbox,
): Promise<void> {
  const record = podRecordOf(extensions[podExtension]);
  const containerId = parseContainerId(id);
  const task = await unlessAbsent(world.tasks.state(ctx, { containerId }));
  if (!record.made) {
    await dropTask(world, ctx, containerId);
    await world.network.tearDown(ctx, id);
    world.namespaces.remove(id);
    await discardPod(world, ctx, id);
    return;
  }
  world.podNames.reserve(podName(record.config), id);
  const ready = task?.status === 'running' || task?.status === 'paused';
  const pod = { id, record, ready, pid: ready ? task.pid : 0, ended: Promise.resolve() };
  world.pods.add(pod);
  if (ready) watchPod(world, pod);
  else await dropTask(world, ctx, containerId);
}

async function recoverContainer(
  world: CriWorld,
  ctx: NamespacedContext,
  { id, extensions }: Container,
): Promise<void> {
  const progress = world.containerFiles.read(id);
  const record = containerRecordOf(extensions[containerExtension]);
  const pod = world.pods.find(record.podId);
  if (progress === undefined || pod === undefined) {
    await dropTask(world, ctx, id);
    await discard(world, ctx, id);
    return;
  }
  world.containerNames.reserve(containerName(record.config, podName(pod.record.config)), id);
  const container: CriContainer = {
    id,
    record,
    progress,
    oomKilled: false,
    stopSignalled: false,
    ended: Promise.resolve(),
  };
  world.containers.add(container);
  const task = await unlessAbsent(world.tasks.state(ctx, { containerId: id }));
  await settle(world, ctx, container, task);
}

/** Brings what is written down and what the task says together. */
async function settle(
  world: CriWorld,
  ctx: NamespacedContext,
  container: CriContainer,
  task: ProcessState | undefined,
): Promise<void> {
  const state = stateOf(container.progress);
  if (state === ContainerState.CONTAINER_EXITED || task?.status === 'created') {
    // A start that nobody was told of is as if it had not been.
    await dropTask(world, ctx, container.id);
    return;
  }
  if (task === undefined) {
    if (state === ContainerState.CONTAINER_RUNNING)
      finish(world, container, { ...lostEnd, finishedAt: now() });
    return;
  }
  if (state === ContainerState.CONTAINER_CREATED) save(world, container, { startedAt: now() });
  save(world, container, { pid: task.pid });
  // One that has ended meanwhile is told of by the same wait.
  watchContainer(world, container);
}

function save(world: CriWorld, container: CriContainer, change: Partial<ContainerProgress>): void {
  container.progress = { ...container.progress, ...change };
  world.containerFiles.save(container.id, container.progress);
}

async function dropTask(
  world: CriWorld,
  ctx: NamespacedContext,
  containerId: CriContainer['id'],
): Promise<void> {
  await unlessAbsent(world.tasks.kill(ctx, { containerId }, SIGKILL, { all: true }));
  await unlessAbsent(world.tasks.wait(ctx, { containerId }));
  await unlessAbsent(world.tasks.delete(ctx, containerId));
}

/** Directories and networks of pods and containers that have no record. */
async function dropOrphans(
  world: CriWorld,
  ctx: NamespacedContext,
  sandboxes: ReadonlySet<string>,
): Promise<void> {
  const records = new Set((await world.records.list(ctx, [])).map(({ id }): string => id));
  for (const id of readdirSync(world.containerFiles.root))
    if (!records.has(id)) world.containerFiles.remove(id);
  for (const id of world.podFiles.list()) if (!sandboxes.has(id)) world.podFiles.remove(id);
  const { failures } = await world.network.collect(ctx, (id) => sandboxes.has(id));
  for (const { what, error } of failures)
    ctx.log.warn({ what, error: messageOf(error) }, 'a network could not be collected');
}
