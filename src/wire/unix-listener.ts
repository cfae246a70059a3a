/**
 * Unix sockets made safely: nobody else can connect before mode and owner are right, a live server is never pushed
 * aside, and a stale socket is replaced atomically.
 *
 * The socket is bound under a hidden name beside its place with umask 0177, given owner and mode, and renamed into
 * place. On close it is removed only while it is still the one made here. Two starters at the very same moment are
 * kept apart by the daemon's lock on its root, not here.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, lstatSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { failedPrecondition, invalidArgument, unavailable } from '../base/errors.ts';
import type { SocketOperations } from '../platform/platform.ts';

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** A connection as the listener gives it; it belongs to the receiver. */
export interface Accepted {
  readonly socket: Socket;
  /** Errors: Unimplemented on the portable platform. */
  peer(): PeerCredentials;
}

/** Where servers take their connections from. */
export interface ConnectionSource {
  /** Connections that came before the first receiver wait. One receiver only. */
  onConnection(receive: (accepted: Accepted) => void): void;
}

export interface UnixListenerOptions {
  /** 0660 when absent. */
  readonly mode?: number;
  /** Owner; unchanged when absent. */
  readonly uid?: number;
  readonly gid?: number;
}

/** sun_path of sockaddr_un less its closing zero (unix(7)). */
const pathBytesMax = 107;

/** Descriptor of a connected socket; Node gives no public way to it. */
export function descriptorOf(socket: Socket): number {
  const handle = (socket as { _handle?: { fd?: number } | null })._handle;
  const fd = handle?.fd ?? -1;
  if (fd < 0) throw unavailable('the connection is closed');
  return fd;
}

/** Whether somebody answers on the socket at `path`. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      // A full backlog means that there is a listener, only a busy one.
      if (error.code === 'EAGAIN') resolve(true);
      else if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
      else reject(error);
    });
  });
}

async function checkPlace(path: string): Promise<void> {
  if (Buffer.byteLength(path) > pathBytesMax)
    throw invalidArgument(
      `socket path ${JSON.stringify(path)} is longer than ${pathBytesMax} bytes, which the kernel does not take`,
    );
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) return;
  if (!there.isSocket())
    throw failedPrecondition(`${path} is there and not a socket; remove it or choose another address`);
  if (await answers(path))
    throw failedPrecondition(
      `another server is listening on ${path}; stop it first or choose another address`,
    );
}

function bind(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  // Node binds in this turn, so the umask touches nothing else of this thread.
  const before = process.umask(0o177);
  try {
    server.listen({ path }, resolve);
  } finally {
    process.umask(before);
  }
  return promise.finally(() => server.off('error', reject));
}

export class UnixListener implements ConnectionSource, AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #sockets: SocketOperations;
  readonly #inode: bigint;
  readonly #early: Accepted[] = [];
  #receive: ((accepted: Accepted) => void) | undefined;
  #closing: Promise<void> | undefined;

  private constructor(path: string, server: Server, inode: bigint, sockets: SocketOperations) {
    this.path = path;
    this.#server = server;
    this.#inode = inode;
    this.#sockets = sockets;
    server.on('connection', (socket) => this.#accept(socket));
  }

  /**
   * Listens on `path`, making its directory (0711) if need be. Must run on the main thread (umask).
   * Errors: FailedPrecondition when a server answers there or something else is in the way; InvalidArgument (length).
   */
  static async listen(
    { sockets }: { readonly sockets: SocketOperations },
    path: string,
    options: UnixListenerOptions = {},
  ): Promise<UnixListener> {
    mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
    await checkPlace(path);
    const hidden = join(dirname(path), `.${randomBytes(4).toString('hex')}`);
    const server = createServer();
    await bind(server, hidden);
    try {
      if (options.uid !== undefined || options.gid !== undefined)
        chownSync(hidden, options.uid ?? process.getuid?.() ?? 0, options.gid ?? process.getgid?.() ?? 0);
      chmodSync(hidden, options.mode ?? 0o660);
      const inode = lstatSync(hidden, { bigint: true }).ino;
      renameSync(hidden, path);
      return new UnixListener(path, server, inode, sockets);
    } catch (error) {
      server.close();
      rmSync(hidden, { force: true });
      throw error;
    }
  }

  onConnection(receive: (accepted: Accepted) => void): void {
    this.#receive = receive;
    for (const accepted of this.#early.splice(0)) receive(accepted);
  }

  #accept(socket: Socket): void {
    const accepted: Accepted = {
      socket,
      peer: () => this.#sockets.peerCredentials(descriptorOf(socket)),
    };
    if (this.#receive === undefined) this.#early.push(accepted);
    else this.#receive(accepted);
  }

  /** Takes no more connections and removes the socket; those that were accepted belong to their receivers. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const there = lstatSync(this.path, { bigint: true, throwIfNoEntry: false });
    if (there?.ino === this.#inode) rmSync(this.path, { force: true });
    for (const { socket } of this.#early.splice(0)) socket.destroy();
    // Node's own close waits for every connection; the listening descriptor is closed in this turn.
    this.#server.close();
    await Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
