/**
 * Which shim a new task gets: that of its group, one of a foreign program started for it, or one that runs already and
 * was named by the client. The bundle knows the address before the shim hears of the task.
 */
import path from 'node:path';
import { type NamespacedContext, withTimeout } from '../../../base/context.ts';
import { wrap } from '../../../base/errors.ts';
import type { Platform } from '../../../platform/platform.ts';
import { unpackAny } from '../../../wire/any.ts';
import { OptionsSchema } from '../../../wire/gen/containerd/types/runc/options/oci_pb.js';
import type { Container } from '../../containers/container-store.ts';
import type { Deadlines } from '../calls/deadlines.ts';
import { killLeftBehind } from '../loss/left-behind.ts';
import type { CreateTask } from '../task-manager.ts';
import type { Bundle, BundleStore, RuntimeRecord } from '../tasks/bundle.ts';
import { Task } from '../tasks/task.ts';
import { type DaemonAddresses, type ShimProgram, startForeignShim } from './foreign-shim.ts';
import { isBuiltIn, shimBinary } from './runtime-name.ts';
import type { ShimAddress } from './shim-address.ts';
import { groupOf, type Sharing } from './shim-group.ts';
import type { ShimLinks } from './shim-links.ts';
import { readShimLog } from './shim-log.ts';

export interface ShimStartDependencies {
  readonly platform: Platform;
  readonly bundles: BundleStore;
  readonly links: ShimLinks;
  readonly daemon: DaemonAddresses;
  readonly deadlines: Deadlines;
  readonly sharing: Sharing;
  /** Directory of the groups' directories. */
  readonly shimDirectory: string;
  /** Directory beside which shims are looked for when PATH has none. */
  readonly besideDir: string;
}

export interface Starting {
  readonly bundle: Bundle;
  readonly spec: Uint8Array;
  readonly runtime: RuntimeRecord;
  readonly request: CreateTask;
  readonly options: CreateTask['options'];
  /** Directory of the dump to restore; "" for none. */
  readonly checkpoint: string;
}

/** Errors: Unknown with containerd's words when the runtime's shim is not installed. */
export function runtimeOf(
  { besideDir: beside }: Pick<ShimStartDependencies, 'besideDir'>,
  container: Container,
  request: CreateTask,
): RuntimeRecord {
  const { name } = container.runtime;
  try {
    if (request.runtimePath !== '') return { shimPath: shimBinary(request.runtimePath, { beside }) };
    return { shimPath: isBuiltIn(name) ? '' : shimBinary(name, { beside }) };
  } catch (error) {
    throw wrap('failed to start shim', error);
  }
}

/** The program that cleans up after the shim of a bundle. */
export async function programOf(
  { bundles, links }: Pick<ShimStartDependencies, 'bundles' | 'links'>,
  bundle: Bundle,
): Promise<ShimProgram> {
  const { shimPath } = await bundles.runtime(bundle);
  if (shimPath !== '') return { file: shimPath, args: [] };
  // Whatever was saved there: it is to be cleaned up.
  return links.programAt(await bundles.address(bundle).catch(() => undefined));
}

/** A task on its shim, which does not know it yet. Errors: Unavailable; what the foreign shim said. No process is left. */
export async function taskOnShim(
  deps: ShimStartDependencies,
  ctx: NamespacedContext,
  starting: Starting,
): Promise<Task> {
  const { bundle, runtime, request } = starting;
  if (request.taskApiAddress !== '') {
    const { taskApiAddress: address, taskApiVersion: version } = request;
    return await taskAt(deps, ctx, bundle, { version, address, protocol: 'ttrpc' });
  }
  if (runtime.shimPath !== '') return await taskOnForeign(deps, ctx, starting);
  const { sharing, shimDirectory: baseDir } = deps;
  const { namespace, id } = bundle;
  const member = { namespace, id, spec: starting.spec, shimCgroup: shimCgroupOf(starting) };
  const link = deps.links.forGroup(groupOf(member, { sharing, baseDir }));
  // At once: a link that nobody holds goes with its shim, which may be leaving just now. The first call connects.
  const task = new Task({ bundle, link, resources: new DisposableStack() });
  try {
    deps.bundles.saveAddress(bundle, link.address);
    return task;
  } catch (error) {
    task.release();
    throw error;
  }
}

async function taskOnForeign(
  deps: ShimStartDependencies,
  ctx: NamespacedContext,
  starting: Starting,
): Promise<Task> {
  const { bundle, runtime, options } = starting;
  const { daemon, platform, deadlines } = deps;
  const { signal } = withTimeout(ctx, deadlines.ms('shim.start'));
  const log = ctx.log.child({ id: bundle.id });
  const program = { file: runtime.shimPath, args: [] };
  const shimLog = readShimLog(platform.files, path.join(bundle.path, 'log'), log);
  try {
    const call = { program, bundle, daemon, options, signal };
    const address = await startForeignShim(platform.processes, call);
    return await taskAt(deps, ctx, bundle, address, shimLog);
  } catch (error) {
    shimLog[Symbol.dispose]();
    await killLeftBehind({ processes: platform.processes, log }, bundle, daemon);
    throw wrap('failed to start shim', error);
  }
}

async function taskAt(
  { bundles, links, deadlines }: ShimStartDependencies,
  ctx: NamespacedContext,
  bundle: Bundle,
  address: ShimAddress,
  shimLog?: Disposable,
): Promise<Task> {
  bundles.saveAddress(bundle, address);
  const link = links.at(address);
  const resources = new DisposableStack();
  const task = new Task({ bundle, link, resources });
  try {
    await link.connection(withTimeout(ctx, deadlines.ms('shim.start')));
    if (shimLog !== undefined) resources.use(shimLog);
    return task;
  } catch (error) {
    task.release();
    if (link.holders.size === 0) await links.drop(link);
    throw error;
  }
}

function shimCgroupOf({ options }: Starting): string {
  if (options === undefined || !options.typeUrl.endsWith(OptionsSchema.typeName)) return '';
  return unpackAny(OptionsSchema, options).shimCgroup;
}
