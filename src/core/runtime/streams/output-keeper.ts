/**
 * Holds the pipes of a container whose output its shim relays (`cri:` URIs), so that what is in them outlives a container
 * that ends while no shim is there: the next shim finds it. Nothing is read here.
 */
import { closeSync } from 'node:fs';
import path from 'node:path';
import { hasCode } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import type { FileOperations } from '../../../platform/platform.ts';

const names = ['stdout', 'stderr'] as const;

/** Of init, in its bundle; nothing where there are none. Never fails: what cannot be held is told to `log`. */
export function keepOutputs(
  { files, log }: { readonly files: Pick<FileOperations, 'openFifo'>; readonly log: Logger },
  bundle: string,
): Disposable {
  const held = new DisposableStack();
  for (const name of names)
    try {
      const pipe = path.join(bundle, 'streams/init', name);
      held.adopt(files.openFifo(pipe, 'read-write', { nonBlocking: true }), closeSync);
    } catch (error) {
      if (!hasCode(error, 'NotFound')) log.warn({ error, bundle }, 'the output of a container is not held');
    }
  return held;
}
