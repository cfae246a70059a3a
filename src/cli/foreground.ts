/** A started task in the foreground, to its end or until somebody detaches. */
import type { ProcessStreams } from '../client/index.ts';
import type { Surroundings } from './app.ts';
import { isAlive, killAndWait, stateIfAny } from './container-remove.ts';
import { runSession, type SessionEnd } from './session.ts';
import type { StartedTask } from './task-start.ts';

export interface ForegroundTask extends StartedTask {
  readonly streams: ProcessStreams;
}

/** When our own end fails (a closed pipe, say), the task is killed: nobody would read its output any more. */
export async function runForeground(
  { around }: { around: Surroundings },
  { task, exited, streams }: ForegroundTask,
): Promise<SessionEnd> {
  try {
    const end = await runSession({ around, process: task, streams, exited });
    if (end.kind === 'exited') await streams[Symbol.asyncDispose]();
    return end;
  } catch (error) {
    const state = await stateIfAny(task);
    if (state !== undefined && isAlive(state)) await killAndWait(task, state);
    await streams[Symbol.asyncDispose]();
    throw error;
  }
}
