/**
 * The socket on which a runtime hands over the master of a container's terminal (runc's `--console-socket`).
 *
 * Made by libc and not by node:net, which would read the message and drop the descriptor that travels with it.
 * Nobody but our user can connect: the mode is set before the socket listens.
 */
import { chmodSync, rmSync } from 'node:fs';
import { ContainerdError, canceled } from '../../base/errors.ts';
import { withNodeErrors } from '../errno.ts';
import type { ConsoleSocket } from '../platform.ts';
import * as libc from './libc.ts';
import { readable } from './readiness.ts';
import { receiveDescriptor, unixAddress } from './sockets.ts';

export class LinuxConsoleSocket implements ConsoleSocket {
  readonly path: string;
  readonly #fd: number;
  readonly #closed = new AbortController();

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /** Errors: FailedPrecondition or AlreadyExists when `path` is taken, InvalidArgument when it is too long. */
  static listen(path: string): LinuxConsoleSocket {
    const address = unixAddress(path);
    const type = libc.SOCK_STREAM | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;
    const fd = libc.check('socket', 'AF_UNIX', libc.socket(libc.AF_UNIX, type, 0));
    let bound = false;
    try {
      libc.check('bind', path, libc.bind(fd, address, address.length));
      bound = true;
      withNodeErrors(() => chmodSync(path, 0o600));
      libc.check('listen', path, libc.listen(fd, 1));
    } catch (error) {
      libc.closeDescriptor(fd);
      if (bound) rmSync(path, { force: true });
      throw error;
    }
    return new LinuxConsoleSocket(path, fd);
  }

  async receive(options: { signal: AbortSignal }): Promise<number> {
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    let connection: number | undefined;
    try {
      await readable(this.#fd, signal);
      const flags = libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;
      connection = libc.check('accept4', this.path, libc.accept4(this.#fd, null, null, flags));
      await readable(connection, signal);
      return receiveDescriptor(connection);
    } catch (error) {
      throw ContainerdError.from(error);
    } finally {
      if (connection !== undefined) libc.closeDescriptor(connection);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed.signal.aborted) return;
    // Waiting calls let go of the descriptor before it is closed: abort listeners run here and now.
    this.#closed.abort(canceled(`console socket ${this.path} was closed`));
    await Promise.resolve();
    libc.closeDescriptor(this.#fd);
    rmSync(this.path, { force: true });
  }
}
