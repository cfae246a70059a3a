/** Pipes on Linux: splice(2), fallocate(2), fcntl(2), and libuv's epoll. */
import { fromErrno, isErrno } from '../errno.ts';
import type { PipeOperations, PipeWatch } from '../platform.ts';
import * as libc from './libc.ts';
import { ReadinessWatch } from './readiness.ts';

export class LinuxPipes implements PipeOperations {
  readonly #offset = Buffer.alloc(8);

  moveToFile(pipeFd: number, fileFd: number, offset: number, sizeBytes: number): number | undefined {
    this.#offset.writeBigInt64LE(BigInt(offset));
    const flags = libc.SPLICE_F_MOVE | libc.SPLICE_F_NONBLOCK;
    for (;;) {
      const moved = libc.splice(pipeFd, null, fileFd, this.#offset, sizeBytes, flags);
      if (moved >= 0) return moved;
      const error = fromErrno('splice', '', libc.errno());
      if (isErrno(error, 'EAGAIN')) return undefined;
      if (!isErrno(error, 'EINTR')) throw error;
    }
  }

  watchReadable(fd: number, onReadable: () => void): PipeWatch {
    return new RepeatedWatch(fd, onReadable);
  }

  setCapacity(fd: number, sizeBytes: number): void {
    libc.fcntl(fd, libc.F_SETPIPE_SZ, sizeBytes);
  }

  freeRange(fd: number, offset: number, sizeBytes: number): boolean {
    const mode = libc.FALLOC_FL_PUNCH_HOLE | libc.FALLOC_FL_KEEP_SIZE;
    return libc.fallocate(fd, mode, offset, sizeBytes) === 0;
  }
}

class RepeatedWatch implements PipeWatch {
  readonly #fd: number;
  readonly #onReadable: () => void;
  #watch: ReadinessWatch | undefined;
  #isOver = false;

  constructor(fd: number, onReadable: () => void) {
    this.#fd = fd;
    this.#onReadable = onReadable;
  }

  arm(): void {
    if (this.#isOver || this.#watch !== undefined) return;
    this.#watch = new ReadinessWatch(this.#fd, () => {
      this.#watch?.[Symbol.dispose]();
      this.#watch = undefined;
      this.#onReadable();
    });
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
  }
}
