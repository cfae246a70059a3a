/** fsync(2) of a directory: the names in it are durable when it returns. Without it a power cut may take new names back. */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
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

/** The same beside the event loop, for who is in the middle of other work. Errors: Node's own. */
export async function syncDirectoryAside(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.sync();
}
