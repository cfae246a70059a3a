/**
 * How a process that is not our child ended. Until its parent reaps it, /proc tells; after that the pidfd does
 * (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15), which may take a moment, so both are asked in bounded time. Older
 * kernels answer ENOTTY or EINVAL, or leave the bit out: then the status is not known once the process is reaped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { fromErrno, isErrno } from '../errno.ts';
import type { ProcessExit } from '../platform.ts';
import * as libc from './libc.ts';
import { keepsExits, pidfdExitStatus } from './pidfd-info.ts';
import { openPinned } from './pidfd-pin.ts';
import { readable } from './readiness.ts';
import { zombieStatus } from './zombie.ts';

export interface ForeignExitOptions {
  readonly signal: AbortSignal;
  readonly pin?: string | undefined;
  /** How long the reaping is waited for, from the end on. */
  readonly reapMs?: number;
}

async function awaitStatus(
  pid: number,
  pidfd: number,
  reapMs: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const deadline = performance.now() + reapMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 100)) {
    const status = pidfdExitStatus(pidfd) ?? zombieStatus(pid, pidfd);
    if (status !== undefined) return status;
    if (!keepsExits(pidfd) || performance.now() > deadline) return undefined;
    await delay(pauseMs, undefined, { signal });
  }
}

/**
 * Waits for the end of any process. Undefined when it is gone already and not pinned on the file `pin`, or its status
 * was not kept.
 */
export async function foreignExit(
  pid: number,
  { signal, pin, reapMs = limits.foreignReapMs }: ForeignExitOptions,
): Promise<ProcessExit | undefined> {
  const pidfd = (pin === undefined ? undefined : openPinned(pin)) ?? libc.pidfdOpen(pid);
  if (pidfd < 0) {
    const error = fromErrno('pidfd_open', String(pid), libc.errno());
    if (isErrno(error, 'ESRCH')) return undefined;
    throw error;
  }
  try {
    await readable(pidfd, signal);
    const exitedAt = now();
    const status = await awaitStatus(pid, pidfd, reapMs, signal);
    return status === undefined ? undefined : { pid, status, exitedAt };
  } finally {
    libc.closeDescriptor(pidfd);
  }
}
