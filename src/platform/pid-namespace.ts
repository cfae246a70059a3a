/** Which PID namespace we run in (pid_namespaces(7)): tells our process ids from those of another container. */
import { statSync } from 'node:fs';

/** Inode of the namespace; 0 where the system has none. */
export const pidNamespace = (): bigint =>
  statSync('/proc/self/ns/pid', { bigint: true, throwIfNoEntry: false })?.ino ?? 0n;
