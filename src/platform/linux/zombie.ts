/**
 * How a process ended that its parent has not reaped yet: the last field of /proc/PID/stat (proc_pid_stat(5),
 * `exit_code`), a wait status. Needs the right to trace it, and works on kernels that keep nothing in the pidfd.
 */
import * as libc from './libc.ts';
import { statField, statFields } from './proc.ts';
import { statusOfWait } from './wait-status.ts';

/** In shell convention; undefined when the process runs or is reaped. */
export function zombieStatus(pid: number, pidfd: number): number | undefined {
  const fields = statFields(pid);
  const exitCode = fields?.[statField(52)];
  if (fields?.[statField(3)] !== 'Z' || exitCode === undefined) return undefined;
  // Still not reaped, so what was read is not of another that got its pid.
  if (libc.pidfdSendSignal(pidfd, 0) !== 0) return undefined;
  return statusOfWait(Number(exitCode));
}
