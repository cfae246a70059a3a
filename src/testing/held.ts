/** What the kernel holds for a process or below a directory, for tests that look for leaks. */
import { readdirSync, readFileSync } from 'node:fs';

/** Lines of mountinfo (proc_pid_mountinfo(5)) that name a mount point at or below `directory`, in mount order. */
const mountLinesBelow = (directory: string): string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => isAtOrBelow(mountPointOf(line), directory));

/** Mount points at or below `directory`, in mount order: unmount them from the last. */
export const mountsBelow = (directory: string): string[] => mountLinesBelow(directory).map(mountPointOf);

/** Numbers of the open descriptors of a process, of this one by default (with the one that reads them). */
export const descriptorsOf = (pid: number | 'self' = 'self'): string[] =>
  readdirSync(`/proc/${pid}/fd`).toSorted();

const mountPointOf = (line: string): string => line.split(' ')[4] ?? '';

const isAtOrBelow = (point: string, directory: string): boolean =>
  point === directory || point.startsWith(`${directory}/`);
