/**
 * A shim's log comes home through a FIFO and is repeated in ours. Opened for both directions, so that a shim that
 * writes while no daemon runs is not ended by SIGPIPE, and real runc shims, which wait for a reader, start.
 */
import { createInterface } from 'node:readline';
import { hasCode } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import type { FileOperations } from '../../../platform/platform.ts';
import { pipeReader } from '../../../wire/pipe.ts';

/** Makes the FIFO if it is not there. Dispose to stop reading. */
export function readShimLog(files: FileOperations, path: string, log: Logger): Disposable {
  try {
    files.makeFifo(path, 0o600);
  } catch (error) {
    if (!hasCode(error, 'AlreadyExists')) throw error;
  }
  const stream = pipeReader(files.openFifo(path, 'read-write', { nonBlocking: true }));
  stream.on('error', (error) => log.debug({ error }, 'the log of a shim ended'));
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  lines.on('line', (line) => log.info({ line }, 'shim'));
  return {
    [Symbol.dispose]: () => {
      lines.close();
      stream.destroy();
    },
  };
}
