/**
 * Network namespaces that no process is in, kept by a bind mount of their nsfs file, as ip-netns(8) does it.
 *
 * unshare(2) and setns(2) move one thread. Here the calling thread leaves its namespace and comes back within one
 * synchronous stretch of system calls: no other JavaScript runs in between, and nothing in it starts a thread, which
 * would inherit the namespace. A thread that cannot come back must not go on, because its next socket would be a
 * pod's: then the process aborts.
 */
import { closeSync, constants, openSync, statfsSync, statSync, unlinkSync } from 'node:fs';
import { alreadyExists, failedPrecondition } from '../../base/errors.ts';
import { isErrno, withNodeErrors } from '../errno.ts';
import type { IdRange, NamespaceOperations, UserNamespaceRequest } from '../platform.ts';
import * as libc from './libc.ts';
import { withUserNamespace } from './user-namespace.ts';

/** statfs(2). */
const NSFS_MAGIC = 0x6e73_6673;
const networkOfThread = '/proc/thread-self/ns/net';
/** struct ifreq: the name, then the flags. */
const ifreqBytes = 40;
const ifreqFlags = 16;

export class LinuxNamespaces implements NamespaceOperations {
  makeNetwork(path: string, { user }: { user?: UserNamespaceRequest } = {}): void {
    for (const place of user === undefined ? [path] : [path, user.path])
      if (this.isPinned(place)) throw alreadyExists('namespace', place);
    using undo = new DisposableStack();
    if (user === undefined) this.#pinOpened(newNetwork(), path, undo);
    else {
      const lines = { uid: mapLines(user.uids), gid: mapLines(user.gids) };
      withUserNamespace(lines, ['--net'], (pid) => {
        this.#pinOpened(openSync(`/proc/${pid}/ns/user`, 'r'), user.path, undo);
        this.#pinOpened(openSync(`/proc/${pid}/ns/net`, 'r'), path, undo);
      });
    }
    undo.move();
  }

  /** Takes the descriptor over. */
  #pinOpened(descriptor: number, path: string, undo: DisposableStack): void {
    undo.defer(() => this.unpin(path));
    try {
      pin(descriptor, path);
    } finally {
      closeSync(descriptor);
    }
  }

  isPinned(path: string): boolean {
    try {
      return statfsSync(path).type === NSFS_MAGIC;
    } catch {
      return false;
    }
  }

  unpin(path: string): void {
    // Nobody is asked to let go of it: who is in the namespace or has it open keeps it without its name.
    while (this.isPinned(path))
      libc.check('unmount', path, libc.umount2(path, libc.UMOUNT_NOFOLLOW | libc.MNT_DETACH));
    try {
      if (statSync(path).size === 0) unlinkSync(path);
    } catch (error) {
      if (!isErrno(error, 'ENOENT'))
        withNodeErrors(() => {
          throw error;
        });
    }
  }

  raiseLoopback(path: string): void {
    if (!this.isPinned(path)) throw failedPrecondition(`no network namespace is open at ${path}`);
    const namespace = withNodeErrors(() => openSync(path, 'r'));
    let socket: number;
    try {
      // A socket stays in the namespace that it was made in.
      socket = awayFromHome(() => {
        libc.check('setns', path, libc.setns(namespace, libc.CLONE_NEWNET));
        return libc.check('socket', path, libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_CLOEXEC, 0));
      });
    } finally {
      closeSync(namespace);
    }
    try {
      const request = Buffer.alloc(ifreqBytes);
      request.write('lo');
      libc.check('get the flags of lo in', path, libc.ioctl(socket, libc.SIOCGIFFLAGS, request));
      request.writeUInt16LE(request.readUInt16LE(ifreqFlags) | libc.IFF_UP, ifreqFlags);
      libc.check('set the flags of lo in', path, libc.ioctl(socket, libc.SIOCSIFFLAGS, request));
    } finally {
      libc.closeDescriptor(socket);
    }
  }
}

/** A descriptor of a new network namespace, owned by the caller. */
const newNetwork = (): number =>
  awayFromHome(() => {
    libc.check('unshare', 'network namespace', libc.unshare(libc.CLONE_NEWNET));
    return openSync(networkOfThread, 'r');
  });

/** Runs `stay`, which may change the network namespace of this thread, and puts that back. */
function awayFromHome(stay: () => number): number {
  const home = withNodeErrors(() => openSync(networkOfThread, 'r'));
  try {
    return withNodeErrors(stay);
  } finally {
    if (libc.setns(home, libc.CLONE_NEWNET) !== 0) process.abort();
    closeSync(home);
  }
}

/** The last part of `path` is not followed. */
function pin(descriptor: number, path: string): void {
  withNodeErrors(() =>
    closeSync(openSync(path, constants.O_RDONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)),
  );
  const source = `/proc/self/fd/${descriptor}`;
  libc.check('pin a namespace on', path, libc.mount(source, path, 'none', libc.MS_BIND, null));
}

const mapLines = (ranges: readonly IdRange[]): string =>
  ranges.map(({ containerId, hostId, size }) => `${containerId} ${hostId} ${size}\n`).join('');
