/**
 * How a process ended that its parent has not reaped yet: the last field of /proc/PID/stat (proc_pid_stat(5),
 * `exit_code`), a wait status. Needs the right to trace it, and works on kernels that keep nothing in the pidfd.
 */
import { readFileSync } from 'node:fs';
import * as libc from './libc.ts';
import { statusOfWait } from './wait-status.ts';

/** Place of `exit_code` behind the name, which is field 2. */
const exitCodeField = 52 - 3;

/** In shell convention; undefined when the process runs or is reaped. */
export function zombieStatus(pid: number, pidfd: number): number | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields[0] !== 'Z' || fields[exitCodeField] === undefined) return undefined;
  // Still not reaped, so what was read is not of another that got its pid.
  if (libc.pidfdSendSignal(pidfd, 0) !== 0) return undefined;
  return statusOfWait(Number(fields[exitCodeField]));
}
