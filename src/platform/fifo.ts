/** FIFOs by Node's own calls, for both platforms. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { invalidArgument } from '../base/errors.ts';
import { withNodeErrors } from './errno.ts';
import type { FileOperations } from './platform.ts';

/** FileOperations.openFifo. */
export const openFifo: FileOperations['openFifo'] = (path, access, { nonBlocking }) => {
  const mode = {
    read: constants.O_RDONLY,
    write: constants.O_WRONLY,
    'read-write': constants.O_RDWR,
  }[access];
  // What the path names may be a terminal by now, and must not become ours.
  const flags = mode | constants.O_NOCTTY | (nonBlocking ? constants.O_NONBLOCK : 0);
  const fd = withNodeErrors(() => openSync(path, flags));
  if (fstatSync(fd).isFIFO()) return fd;
  closeSync(fd);
  throw invalidArgument(`open ${path}: not a FIFO`);
};
