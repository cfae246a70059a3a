/** The story of a task's creation; see docs/walks/start.md. */

import path from 'node:path';
import type { NamespacedContext } from '../../base/context.ts';
import { withTimeout } from '../../base/context.ts';
import { failedPrecondition, wrap } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Platform } from '../../platform/platform.ts';
import { anyToWire, unpackAny } from '../../wire/any.ts';
import { OptionsSchema } from '../../wire/gen/containerd/types/runc/options/oci_pb.js';
import type { Container, ContainerStore } from '../containers/container-store.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import type { Bundle, BundleStore, RuntimeRecord } from './bundle.ts';
import { cleanUpAfterShim } from './dead-shim.ts';
import { type DaemonAddresses, type ShimProgram, startForeignShim } from './foreign-shim.ts';
import { isBuiltIn, shimBinary } from './runtime-name.ts';
import type { SharedShim } from './shared-shim.ts';
import type { ShimAddress } from './shim-address.ts';
import { readShimLog } from './shim-log.ts';
import type { ShimPool } from './shim-pool.ts';
import { Task } from './task.ts';
import type { CreateTask } from './task-manager.ts';

export interface TaskCreateDependencies {
  readonly platform: Platform;
  readonly containers: ContainerStore;
  readonly events: EventPublisher;
  readonly bundles: BundleStore;
  readonly pool: ShimPool;
  readonly sharedShim: SharedShim;
  readonly daemon: DaemonAddresses;
  /** Directory beside which shims are looked for when PATH has none. */
  readonly besideDir: string;
}

/** Errors: NotFound (container); Unknown for what the shim or the runtime says. Nothing is left on failure. */
export async function createTask(
  deps: TaskCreateDependencies,
  ctx: NamespacedContext,
  request: CreateTask,
): Promise<{ task: Task; pid: number }> {
  const container = await deps.containers.get(ctx, request.containerId);
  const runtime = runtimeOf(deps, container, request);
  await using undo = new AsyncDisposableStack();

  const spec = container.spec;
  if (spec === undefined) throw failedPrecondition(`container ${request.containerId} has no spec`);
  const bundle = await deps.bundles.create(ctx.namespace, request.containerId, spec.value, runtime);
  undo.defer(() => deps.bundles.remove(bundle));

  const options = request.options ?? container.runtime.options;
  const task = await startShim(deps, ctx, { bundle, runtime, request, options });
  undo.defer(() => abandon(deps, ctx, task, runtime));

  const { pid } = await task
    .call(ctx, 'create', {
      id: request.containerId,
      bundle: bundle.path,
      rootfs: request.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
      ...request.io,
      checkpoint: '',
      ...(options !== undefined && { options: anyToWire(options) }),
    })
    .catch((error: unknown) => {
      throw wrap('failed to create shim task', error);
    });
  undo.move();
  return { task, pid };
}

function runtimeOf(
  { besideDir }: TaskCreateDependencies,
  container: Container,
  request: CreateTask,
): RuntimeRecord {
  const { name } = container.runtime;
  try {
    if (request.runtimePath !== '')
      return { shimPath: shimBinary(request.runtimePath, { beside: besideDir }) };
    return { shimPath: isBuiltIn(name) ? '' : shimBinary(name, { beside: besideDir }) };
  } catch (error) {
    throw wrap('failed to start shim', error);
  }
}

interface Starting {
  readonly bundle: Bundle;
  readonly runtime: RuntimeRecord;
  readonly request: CreateTask;
  readonly options: CreateTask['options'];
}

/** The shared shim, one of its own, or one that runs already. The bundle knows its address when this resolves. */
async function startShim(
  deps: TaskCreateDependencies,
  ctx: NamespacedContext,
  starting: Starting,
): Promise<Task> {
  const { bundle, runtime, request } = starting;
  const { signal } = withTimeout(ctx, limits.shimStartMs);
  using resources = new DisposableStack();
  const own = (address: ShimAddress) => async (): Promise<Task> => {
    await deps.bundles.saveAddress(bundle, address);
    const shim = await deps.pool.at(address, { signal });
    return new Task({ bundle, shim, ownsShim: true, resources: resources.move() });
  };
  if (request.taskApiAddress !== '') {
    const version = request.taskApiVersion;
    return own({ version, address: request.taskApiAddress, protocol: 'ttrpc' })();
  }
  if (runtime.shimPath === '' && !wantsOwnShim(starting)) {
    const shim = await deps.pool.shared({ signal });
    await deps.bundles.saveAddress(bundle, deps.sharedShim.address);
    return new Task({ bundle, shim, ownsShim: false, resources: resources.move() });
  }
  const program = programOf(deps.sharedShim, runtime);
  resources.use(
    readShimLog(deps.platform.files, path.join(bundle.path, 'log'), ctx.log.child({ id: bundle.id })),
  );
  try {
    const { options } = starting;
    const { daemon } = deps;
    return await own(
      await startForeignShim(deps.platform.processes, { program, bundle, daemon, options, signal }),
    )();
  } catch (error) {
    throw wrap('failed to start shim', error);
  }
}

/** A container that puts its shim into a cgroup cannot share it. */
function wantsOwnShim({ options }: Starting): boolean {
  if (options === undefined || !options.typeUrl.endsWith(OptionsSchema.typeName)) return false;
  return unpackAny(OptionsSchema, options).shimCgroup !== '';
}

/** The built-in shim's program for a runtime without a path. */
export const programOf = (sharedShim: SharedShim, { shimPath }: RuntimeRecord): ShimProgram =>
  shimPath === '' ? sharedShim.program : { file: shimPath, args: [] };

async function abandon(
  deps: TaskCreateDependencies,
  ctx: NamespacedContext,
  task: Task,
  runtime: RuntimeRecord,
): Promise<void> {
  const { bundle } = task;
  if (task.ownsShim) {
    await task.shim
      .call('shutdown', { id: bundle.id }, { namespace: bundle.namespace, timeoutMs: limits.shimShutdownMs })
      .catch(() => {});
    await deps.pool.close(task.shim);
  }
  task.resources.dispose();
  const program = programOf(deps.sharedShim, runtime);
  await cleanUpAfterShim(deps, ctx, { bundle, program, daemon: deps.daemon, announce: false });
}
