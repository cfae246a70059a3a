/**
 * Waits for a descriptor to become readable on libuv's own epoll: no thread of the pool is taken and nothing polls.
 *
 * Koffi calls back outside of Node's callback scope, where promises are not run afterwards; so the answer goes
 * through setImmediate. Each watch tells once. The descriptor belongs to the caller and must outlive the watch.
 */
import * as koffi from 'koffi';

export class ReadinessWatch implements Disposable {
  // A collected handle is a closed one, so it is held here until it is disposed of.
  #handle: koffi.node.PollHandle | undefined;

  constructor(fd: number, onReadable: () => void) {
    this.#handle = koffi.node.poll(fd, { readable: true }, () => {
      if (this.#handle === undefined) return;
      this.#handle.stop();
      setImmediate(() => {
        if (this.#handle !== undefined) onReadable();
      });
    });
  }

  /** Keeps the event loop alive, as it does from the beginning. */
  ref(): void {
    this.#handle?.ref();
  }

  unref(): void {
    this.#handle?.unref();
  }

  [Symbol.dispose](): void {
    this.#handle?.close();
    this.#handle = undefined;
  }
}

/** Resolves when `fd` is readable. Rejects with the signal's reason. */
export async function readable(fd: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  using _watch = new ReadinessWatch(fd, resolve);
  const onAbort = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
