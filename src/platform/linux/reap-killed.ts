/** Ends and reaps a child within one synchronous call, for callers that cannot wait for the event loop. */
import { fromErrno, isErrno } from '../errno.ts';
import * as libc from './libc.ts';

export function reapKilled(pid: number): void {
  libc.killProcess(pid, 9);
  if (libc.waitpid(pid, null, 0) >= 0) return;
  const error = fromErrno('waitpid', String(pid), libc.errno());
  if (!isErrno(error, 'ECHILD')) throw error;
}
