/** The story of a task's creation; see docs/walks/start.md. */

import path from 'node:path';
import type { NamespacedContext } from '../../base/context.ts';
import { checkSignal, withTimeout } from '../../base/context.ts';
import { ContainerdError, failedPrecondition, wrap } from '../../base/errors.ts';
import { raceSignal } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import type { Platform } from '../../platform/platform.ts';
import { anyToWire, unpackAny } from '../../wire/any.ts';
import { OptionsSchema } from '../../wire/gen/containerd/types/runc/options/oci_pb.js';
import type { Container, ContainerStore } from '../containers/container-store.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import type { Bundle, BundleStore, RuntimeRecord } from './bundle.ts';
import { prepareRestore } from './checkpoint.ts';
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
  readonly content: ContentStore;
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
  const checkpoint = await prepareRestore(deps, ctx, bundle, request);
  const starting = { bundle, runtime, request, options, checkpoint };
  let made: { task: Task; pid: number };
  try {
    made = await createInShim(deps, ctx, starting);
  } catch (error) {
    if (!(error instanceof ShimGone)) throw error;
    made = await createInShim(deps, ctx, starting);
  }
  undo.defer(() => takeBack(deps, made.task));
  // ttrpc cannot take a create back, so a caller who left meanwhile is noticed only now.
  checkSignal(ctx.signal);
  undo.move();
  return made;
}

/** The shared shim has gone, as it does some time after its last container, and another can be started. */
class ShimGone extends ContainerdError {}

/** Leaves no shim of its own behind when the create fails. */
async function createInShim(
  deps: TaskCreateDependencies,
  ctx: NamespacedContext,
  starting: Starting,
): Promise<{ task: Task; pid: number }> {
  const { bundle, request, options } = starting;
  const task = await startShim(deps, ctx, starting);
  try {
    const { pid } = await task.shim.call(
      'create',
      {
        id: request.containerId,
        bundle: bundle.path,
        rootfs: request.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
        ...request.io,
        checkpoint: starting.checkpoint,
        ...(options !== undefined && { options: anyToWire(options) }),
      },
      { namespace: ctx.namespace },
    );
    return { task, pid };
  } catch (error) {
    const failure = wrap('failed to create shim task', error);
    // It was empty and told to end, which it does in a moment.
    if (failure.code === 'Aborted')
      await raceSignal(task.shim.closed, withTimeout(ctx, limits.shimStartMs).signal);
    const { isLost } = task.shim;
    await letGo(deps, task);
    if (!isLost) throw failure;
    // It may have died half way, and only its `delete` knows how to find out.
    const program = programOf(deps.sharedShim, starting.runtime);
    const dead = { bundle, program, daemon: deps.daemon, announce: false, keepBundle: true };
    if (failure.code !== 'Aborted') await cleanUpAfterShim(deps, ctx, dead);
    throw task.ownsShim ? failure : new ShimGone(failure.code, failure.message, { cause: error });
  }
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
  /** Directory of the dump to restore; "" for none. */
  readonly checkpoint: string;
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
    return await own({ version, address: request.taskApiAddress, protocol: 'ttrpc' })();
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

/** Of a container that was made and not started. */
async function takeBack(deps: TaskCreateDependencies, task: Task): Promise<void> {
  const { id, namespace } = task.bundle;
  await task.shim.call('delete', { id }, { namespace, timeoutMs: limits.shimCleanupMs });
  await letGo(deps, task);
}

async function letGo({ pool }: TaskCreateDependencies, task: Task): Promise<void> {
  const { id, namespace } = task.bundle;
  await task.shim.call('shutdown', { id }, { namespace, timeoutMs: limits.shimShutdownMs }).catch(() => {});
  if (task.ownsShim) await pool.close(task.shim);
  task.resources.dispose();
}
