/** StartContainer: from CREATED only. One that cannot be started has exited, by StartError. */
import { type Context, forCleanup, type NamespacedContext } from '../../base/context.ts';
import { failedPrecondition, wrap } from '../../base/errors.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import { now } from '../../base/time.ts';
import type { ProcessIo } from '../../core/runtime/task-manager.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { ContainerState } from '../../wire/gen/runtime/v1/container_pb.js';
import { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import { inCri } from '../cri-context.ts';
import { handlerOf } from '../pods/pod-run.ts';
import { announce } from '../pods/pod-status.ts';
import { taskOf } from '../pods/task-io.ts';
import {
  type CriWorld,
  messageOf,
  requireContainer,
  requirePod,
  undoMs,
  unlessAbsent,
} from '../pods/world.ts';
import { type ContainerRecord, type CriContainer, stateOf } from './container.ts';
import { finish, watchContainer } from './container-watch.ts';

const startErrorCode = 128;

/** Errors: NotFound, FailedPrecondition (state, pod), those of the runtime. */
export async function startContainer(world: CriWorld, context: Context, text: string): Promise<void> {
  const ctx = inCri(context);
  const container = requireContainer(world, text);
  const { id, record } = container;
  using _ = await world.locks.acquire(id, ctx);
  const state = stateOf(container.progress);
  if (state !== ContainerState.CONTAINER_CREATED || world.containers.find(id) === undefined)
    throw failedPrecondition(
      `failed to start container ${JSON.stringify(id)}: container is in ${ContainerState[state]} state`,
    );
  const pod = requirePod(world, record.podId);
  if (!pod.ready) throw failedPrecondition(`sandbox container ${JSON.stringify(pod.id)} is not running`);
  try {
    const pid = await startTask(world, ctx, container, pod.record.handler);
    container.progress = { ...container.progress, pid, startedAt: now() };
    world.containerFiles.save(id, container.progress);
  } catch (error) {
    await dropTask(world, ctx, container);
    finish(world, container, {
      exitCode: startErrorCode,
      finishedAt: now(),
      reason: 'StartError',
      message: messageOf(error),
    });
    throw wrap(`failed to start container ${JSON.stringify(id)}`, error);
  }
  watchContainer(world, container);
  announce(world, ContainerEventType.CONTAINER_STARTED_EVENT, { podId: pod.id, containerId: id });
}

async function startTask(
  world: CriWorld,
  ctx: NamespacedContext,
  { id, record }: CriContainer,
  handler: string,
): Promise<number> {
  const { snapshotter, snapshotKey } = await world.records.get(ctx, id);
  const rootfs = await world.snapshotter(snapshotter).mounts(ctx, parseSnapshotKey(snapshotKey));
  await world.tasks.create(ctx, {
    ...taskOf(id, { rootfs, io: ioOf(record, world.settings.pods.maxLogLineBytes) }),
    runtimePath: handlerOf(world, handler).path,
  });
  const { pid } = await world.tasks.start(ctx, { containerId: id });
  return pid;
}

/** The shim writes the log, so that it goes on when the daemon does not. */
function ioOf({ logPath, config }: ContainerRecord, maxLineBytes: number): ProcessIo {
  const path = logPath.split('/').map(encodeURIComponent).join('/');
  const log = `cri://${path}?max-line=${maxLineBytes}`;
  const stdin = config.stdin ? (config.stdinOnce ? 'cri://?once' : 'cri://') : '';
  return { stdin, stdout: log, stderr: config.tty ? '' : log, terminal: config.tty };
}

async function dropTask(world: CriWorld, called: NamespacedContext, { id }: CriContainer): Promise<void> {
  const ctx = forCleanup(called, undoMs);
  const target = { containerId: id };
  try {
    await unlessAbsent(world.tasks.kill(ctx, target, SIGKILL, { all: true }));
    await unlessAbsent(world.tasks.wait(ctx, target));
    await unlessAbsent(world.tasks.delete(ctx, id));
  } catch (error) {
    ctx.log.warn(
      { container: id, error: messageOf(error) },
      'a container that did not start has left a task',
    );
  }
}
