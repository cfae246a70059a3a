/**
 * Two connected unix sockets, one of them as a descriptor for a child process: socketpair(2) for Node, which has no call
 * for it. They meet in a directory that only this user can enter and that is gone before anybody gets an end.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unavailable } from '../base/errors.ts';
import type { SocketOperations } from '../platform/platform.ts';
import { type Accepted, descriptorOf, UnixListener } from './unix-listener.ts';

export interface SocketPair {
  /** Ours; belongs to the caller. */
  readonly near: Socket;
  /** The other end, good until `closeFar`: close it when the child has it, or its end would never be seen. */
  readonly farFd: number;
  closeFar(): void;
}

/** Errors: Unavailable. */
export async function socketPair(sockets: SocketOperations): Promise<SocketPair> {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-pair-'));
  try {
    await using listener = await UnixListener.listen({ sockets }, join(directory, 's'), { mode: 0o600 });
    const { promise: accepted, resolve } = Promise.withResolvers<Accepted>();
    listener.onConnection(resolve);
    const far = connect({ path: listener.path });
    const failed = new Promise<never>((_, reject) =>
      far.once('error', (error) => reject(unavailable(`socket pair: ${error.message}`, error))),
    );
    const [{ socket: near }] = await Promise.race([
      Promise.all([accepted, new Promise((connected) => far.once('connect', connected))]),
      failed,
    ]);
    failed.catch(() => {});
    return { near, farFd: descriptorOf(far), closeFar: () => far.destroy() };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
