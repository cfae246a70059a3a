/** Where the peer's binaries are: containerd 2.1 as the set-up unpacks it, else Debian's own. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where what is downloaded or built once for tests is kept. */
export const cacheRoot = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'gantry');

/** Filled by tools/peers.sh. */
export const peersDir = process.env['GANTRY_PEERS'] ?? join(cacheRoot, 'peers');

/** Directory of containerd, ctr and shim of the newest peer that is there. */
export function peerBinaries(): Promise<string> {
  const newest = join(peersDir, 'containerd-2/usr/bin');
  return Promise.resolve(existsSync(join(newest, 'containerd')) ? newest : '/usr/bin');
}
