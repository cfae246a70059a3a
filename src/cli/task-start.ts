/** From a container record to a running task: streams, task, start. What a failure leaves is removed. */
import { limits } from '../base/limits.ts';
import {
  type ContainerRecord,
  type GantryClient,
  hasCode,
  logStreams,
  makeStreams,
  type ProcessIo,
  type ProcessStreams,
  type Task,
} from '../client/index.ts';
import type { Surroundings } from './app.ts';
import { logLabel } from './container-names.ts';
import { fifoDirectory } from './runtime-directory.ts';

export interface StartedTask {
  readonly task: Task;
  readonly exited: Promise<{ readonly exitStatus: number }>;
  /** Ours to read and write, and to dispose or leave; undefined when the output goes to a log. */
  readonly streams: ProcessStreams | undefined;
}

export interface StartOptions {
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly signal?: AbortSignal;
}

/** A container with a log label logs; another gets FIFOs. Errors: those of the daemon. */
export async function startTask(
  { gantry, around }: { gantry: GantryClient; around: Surroundings },
  container: ContainerRecord,
  { terminal, stdin, signal }: StartOptions,
): Promise<StartedTask> {
  const call = signal === undefined ? {} : { signal };
  await using undo = new AsyncDisposableStack();
  const streams = await streamsOf(around, container, { terminal, stdin });
  if (streams !== undefined) undo.use(streams);
  const io = streams?.paths ?? logOf(container, terminal);
  const rootfs = await gantry.snapshots(container.snapshotter).mounts(container.snapshotKey, call);
  const task = await gantry.tasks.create(container.id, { rootfs, io, ...call });
  undo.defer(() => discard(task));
  const exited = task.wait();
  // Somebody may look at it only later.
  exited.catch(() => undefined);
  await task.start(call);
  undo.move();
  return { task, exited, streams };
}

async function streamsOf(
  around: Surroundings,
  { labels }: ContainerRecord,
  wanted: { terminal: boolean; stdin: boolean },
): Promise<ProcessStreams | undefined> {
  if (labels[logLabel] !== undefined) return undefined;
  return await makeStreams({ makeFifo: around.makeFifo, directory: fifoDirectory(around) }, wanted);
}

function logOf({ labels }: ContainerRecord, terminal: boolean): ProcessIo {
  const paths = logStreams(labels[logLabel] ?? '');
  return terminal ? { ...paths, stderr: '', terminal } : paths;
}

/** A task that was made and could not be started. */
async function discard(task: Task): Promise<void> {
  const signal = AbortSignal.timeout(limits.cleanupMs);
  try {
    await task.kill(9, { all: true, signal });
    await task.wait({ signal });
  } catch (error) {
    if (!hasCode(error, 'NotFound') && !hasCode(error, 'FailedPrecondition')) throw error;
  }
  await task.delete({ signal });
}
