/** Whether somebody listens on a unix socket: the system says most exactly why a connection cannot be made. */
import { connect } from 'node:net';

/** Connects and gives the connection up. Rejects with Node's own error (`code`: ENOENT, ECONNREFUSED, EACCES, …). */
export async function probeUnixSocket(path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ path });
  socket.once('connect', () => resolve());
  socket.once('error', reject);
  try {
    await promise;
  } finally {
    socket.destroy();
  }
}
