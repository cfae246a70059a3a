/** fsync(2) of a directory: the names in it are durable when it returns. Without it a power cut may take new names back. */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { withNodeErrors } from './errno.ts';

/** Errors: NotFound. */
export function syncDirectory(path: string): void {
  withNodeErrors(() => {
    const descriptor = openSync(path, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  });
}
