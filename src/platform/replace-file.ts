/**
 * A file that changes as one step: whoever reads it, also after `kill -9` at any moment, finds the old bytes or the
 * new ones, never half of either. The bytes go to `PATH.new`, which rename(2) puts in the place of `PATH`; what a
 * crash left under that name is overwritten by the next.
 */
import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { withNodeErrors } from './errno.ts';
import { syncDirectory } from './sync-directory.ts';

export interface ReplaceOptions {
  /** Of a file that is made; the umask narrows it. */
  readonly mode: number;
  /** Survives a power cut once this returns; without it only the death of processes is survived. */
  readonly durable?: boolean;
}

/** Errors: NotFound (no directory), PermissionDenied, ResourceExhausted (no space). */
export function replaceFile(
  path: string,
  bytes: string | Uint8Array,
  { mode, durable = false }: ReplaceOptions,
): void {
  const fresh = `${path}.new`;
  withNodeErrors(() => {
    const descriptor = openSync(fresh, 'w', mode);
    try {
      writeFileSync(descriptor, bytes);
      if (durable) fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(fresh, path);
  });
  if (durable) syncDirectory(dirname(path));
}
