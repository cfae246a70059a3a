/**
 * Tasks whose root file systems need the mount manager: it is asked at each create, under the task's id, and mounts what
 * no shim can (`loop`, `erofs`, `format/` and so on); the shim gets the rest. The container keeps the mounts alive, so
 * that a task that was lost finds them again, and the task's deletion takes them away.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { forCleanup } from '../../base/context.ts';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import type { ContainerId } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { gcLabels } from '../gc/gc-labels.ts';
import {
  ShimTaskManager,
  type ShimTaskManagerDependencies,
  type ShimTaskManagerOptions,
} from '../runtime/shim-task-manager.ts';
import type { CreateTask, ProcessEnd } from '../runtime/task-manager.ts';
import type { Activation, MountManager } from './mount-manager.ts';

export interface MountingTaskManagerDependencies extends ShimTaskManagerDependencies {
  readonly mounts: MountManager;
}

export class MountingTaskManager extends ShimTaskManager {
  readonly #mounts: MountManager;

  constructor({ mounts, ...dependencies }: MountingTaskManagerDependencies, options: ShimTaskManagerOptions) {
    super(dependencies, options);
    this.#mounts = mounts;
  }

  override async create(ctx: NamespacedContext, request: CreateTask): Promise<{ pid: number }> {
    const found = await activateRootfs(this.#mounts, ctx, request);
    if (found === undefined) return super.create(ctx, request);
    try {
      return await super.create(ctx, { ...request, rootfs: found.activation.system });
    } catch (error) {
      // One that was there before may belong to the task that is in the way.
      if (found.isNew) await this.#deactivate(ctx, request.containerId);
      throw error;
    }
  }

  override async delete(ctx: NamespacedContext, id: ContainerId): Promise<ProcessEnd> {
    const end = await super.delete(ctx, id);
    await this.#deactivate(ctx, id);
    return end;
  }

  /** What cannot be unmounted now, a collection unmounts later. */
  async #deactivate(ctx: NamespacedContext, id: ContainerId): Promise<void> {
    try {
      await this.#mounts.info(ctx, id);
      await this.#mounts.deactivate(forCleanup(ctx, limits.cleanupMs), id);
    } catch (error) {
      if (!hasCode(error, 'NotFound'))
        ctx.log.warn(
          { error: ContainerdError.from(error), id },
          'cannot unmount the root file system of a task',
        );
    }
  }
}

/** Undefined when the shim can mount all of it. */
async function activateRootfs(
  mounts: MountManager,
  ctx: NamespacedContext,
  { containerId, rootfs }: CreateTask,
): Promise<{ activation: Activation; isNew: boolean } | undefined> {
  if (rootfs.length === 0) return undefined;
  const labels = { [`${gcLabels.backRefPrefix}container`]: containerId };
  try {
    const request = { name: containerId, mounts: rootfs, labels, temporary: false };
    return { activation: await mounts.activate(ctx, request), isNew: true };
  } catch (error) {
    if (hasCode(error, 'Unimplemented') && !rootfs.some(({ type }) => type.includes('/'))) return undefined;
    if (!hasCode(error, 'AlreadyExists')) throw error;
    return { activation: await mounts.info(ctx, containerId), isNew: false };
  }
}
