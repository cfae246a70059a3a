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

export interface DockerBinaries {
  readonly dockerd: string;
  readonly docker: string;
  /** For PATH: dockerd looks for its helpers there. */
  readonly folders: readonly string[];
}

/** Docker 28 as the set-up unpacks it; undefined where it could not be had. */
export function newestDocker(): DockerBinaries | undefined {
  const folders = ['sbin', 'bin'].map((folder) => join(peersDir, 'docker/usr', folder));
  const binaries = dockerIn(join(peersDir, 'docker/usr'), folders);
  return existsSync(binaries.dockerd) ? binaries : undefined;
}

/** Docker as Debian installs it. */
export const debianDocker = (): DockerBinaries => dockerIn('/usr', ['/usr/sbin', '/usr/bin']);

const dockerIn = (directory: string, folders: readonly string[]): DockerBinaries => ({
  dockerd: join(directory, 'sbin/dockerd'),
  docker: join(directory, 'bin/docker'),
  folders,
});

/** The docker client's plugins: buildx, through which BuildKit is spoken to. Undefined where it could not be had. */
export function dockerPlugins(): string | undefined {
  const folder = join(peersDir, 'docker-buildx/usr/libexec/docker/cli-plugins');
  return existsSync(join(folder, 'docker-buildx')) ? folder : undefined;
}
