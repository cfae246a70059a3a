/** What the kernel keeps in a pidfd of how its process ended (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15). */
import * as libc from './libc.ts';
import { statusOfWait } from './wait-status.ts';

const infoBytes = 64;
const maskPid = 0x1n;
const maskExit = 0x8n;
const exitOffset = 60;

/** The exit status in shell convention; undefined while the process is not reaped and on kernels without it. */
export function pidfdExitStatus(pidfd: number): number | undefined {
  const info = Buffer.alloc(infoBytes);
  info.writeBigUInt64LE(maskPid | maskExit, 0);
  if (libc.ioctl(pidfd, libc.PIDFD_GET_INFO, info) < 0) return undefined;
  if ((info.readBigUInt64LE(0) & maskExit) === 0n) return undefined;
  return statusOfWait(info.readInt32LE(exitOffset));
}

/** Whether this is a pidfd, of a kernel that keeps exit codes. The bit need not be set yet. */
export function keepsExits(pidfd: number): boolean {
  const info = Buffer.alloc(infoBytes);
  info.writeBigUInt64LE(maskPid | maskExit, 0);
  // A process that was reaped answers ESRCH unless its exit was kept.
  return libc.ioctl(pidfd, libc.PIDFD_GET_INFO, info) === 0;
}
