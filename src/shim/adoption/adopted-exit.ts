/**
 * How a process ends that a shim before this one started: it is no child of ours, and may have ended while nobody
 * watched. Its pinned pidfd knows; without one the kernel tells as long as the process is there. 255 stands for a
 * status that nobody kept.
 */
import { never } from '../../base/context.ts';
import type { Logger } from '../../base/logger.ts';
import { now } from '../../base/time.ts';
import type { ProcessExit, ProcessOperations } from '../../platform/platform.ts';

const unknownStatus = 255;

export interface AdoptedPid {
  readonly pid: number;
  readonly startTicks: bigint | undefined;
}

/** The very process, not one that got its pid. A zombie counts: its status can be had. */
export const isStill = (processes: ProcessOperations, { pid, startTicks }: AdoptedPid): boolean =>
  startTicks !== undefined && processes.startTicks(pid) === startTicks;

export interface ExitDependencies {
  readonly processes: ProcessOperations;
  readonly log: Logger;
}

/** `pin` is where its pidfd is mounted; undefined when it is not. Never rejects. */
export async function adoptedExit(
  { processes, log }: ExitDependencies,
  process: AdoptedPid,
  pin: string | undefined,
): Promise<ProcessExit> {
  const { pid } = process;
  try {
    if (pin !== undefined || isStill(processes, process)) {
      const options = pin === undefined ? { signal: never } : { signal: never, pin };
      const exit = await processes.foreignExited(pid, options);
      if (exit !== undefined) return exit;
    }
    log.warn(
      { pid },
      'a process ended while no shim watched it, and its status was not kept: it counts as 255',
    );
  } catch (error) {
    log.error({ error, pid }, 'the end of a process cannot be watched: it counts as ended with 255');
  }
  return { pid, status: unknownStatus, exitedAt: now() };
}
