/** Removing a container with all that belongs to it: task, record, snapshot, log, FIFOs. Each may be gone already. */

import { rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { basename, dirname } from 'node:path';
import {
  type ContainerRecord,
  type GantryClient,
  hasCode,
  type ProcessState,
  type Task,
} from '../client/index.ts';
import type { Surroundings } from './app.ts';
import { callName } from './container-names.ts';
import { CliFailure } from './failure.ts';
import { removeLog } from './log-files.ts';
import { fifoDirectory } from './runtime-directory.ts';

export interface RemoveDependencies {
  readonly gantry: GantryClient;
  readonly around: Surroundings;
}

/** Fails when it runs and `force` is not set. */
export async function removeContainer(
  { gantry, around }: RemoveDependencies,
  container: ContainerRecord,
  { force, signal }: { force: boolean; signal?: AbortSignal },
): Promise<void> {
  const call = signal === undefined ? {} : { signal };
  const task = gantry.tasks.task(container.id);
  const state = await stateIfAny(task);
  if (state !== undefined) {
    if (isAlive(state)) {
      if (!force)
        throw new CliFailure(`container ${callName(container)} is ${state.status}`, {
          hint: `stop it first (gantry stop ${callName(container)}), or remove it with -f`,
        });
      await killAndWait(task, state);
    }
    await unlessGone(task.delete(call));
    await removeFifos(around, state);
  }
  await unlessGone(gantry.containers.remove(container.id, call));
  if (container.snapshotKey !== '')
    await unlessGone(gantry.snapshots(container.snapshotter).remove(container.snapshotKey, call));
  await removeLog(container);
}

export const isAlive = ({ status }: ProcessState): boolean => status !== 'stopped' && status !== 'unknown';

/** undefined when the container has no task. */
export async function stateIfAny(task: Task): Promise<ProcessState | undefined> {
  return await unlessGone(task.state());
}

export async function killAndWait(task: Task, state: ProcessState): Promise<void> {
  // A frozen process takes no signal before it is thawed.
  if (state.status === 'paused') await task.resume();
  const ended = task.wait();
  await unlessGone(task.kill(constants.signals.SIGKILL, { all: true }));
  await unlessGone(ended);
}

/** FIFOs that a detached session left; only such as we make. */
export async function removeFifos(around: Surroundings, state: ProcessState): Promise<void> {
  for (const path of [state.stdin, state.stdout, state.stderr]) {
    const own = dirname(path);
    if (basename(own).startsWith('io-') && dirname(own) === fifoDirectory(around))
      await rm(own, { recursive: true, force: true });
  }
}

async function unlessGone<Value>(promise: Promise<Value>): Promise<Value | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}
