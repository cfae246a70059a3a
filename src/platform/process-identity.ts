/** A process that is told from another which got its pid later, by when it was started. */
import { hasCode } from '../base/errors.ts';
import type { ProcessOperations } from './platform.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTicks: string;
}

type Processes = Pick<ProcessOperations, 'kill' | 'startTicks'>;

/** Undefined when there is no such process. */
export function identify(
  processes: Pick<ProcessOperations, 'startTicks'>,
  pid: number,
): ProcessIdentity | undefined {
  const startTicks = pid > 0 ? processes.startTicks(pid) : undefined;
  return startTicks === undefined ? undefined : { pid, startTicks: String(startTicks) };
}

export const isStill = (
  processes: Pick<ProcessOperations, 'startTicks'>,
  { pid, startTicks }: ProcessIdentity,
): boolean => identify(processes, pid)?.startTicks === startTicks;

/** False when it is gone. */
export function signalIdentified(processes: Processes, identity: ProcessIdentity, signal: number): boolean {
  if (!isStill(processes, identity)) return false;
  try {
    processes.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return false;
    throw error;
  }
}
