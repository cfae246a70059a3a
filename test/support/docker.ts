/**
 * dockerd on a containerd of our choice: private data, execution and configuration directories, no bridge and no
 * firewall rules, and a cgroup of its own below which everything that it starts can be found again. Disposing one ends
 * its containers and takes its mounts, cgroups and directories away.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { until } from '../../src/testing/until.ts';
import type { DockerBinaries } from './peers.ts';
import { attempt, type Outcome, type RunOptions, run } from './run.ts';

export interface DockerOptions {
  readonly binaries: DockerBinaries;
  /** Socket of the containerd. */
  readonly containerd: string;
  /** Where images and the file systems of containers are: in dockerd's own graph driver, or in the containerd. */
  readonly storage: 'overlay2' | 'containerd';
  /** Registries that may be spoken to without TLS. */
  readonly registries?: readonly string[];
  /** With the bridge and networks of dockerd, in a network namespace of its own; without any otherwise. */
  readonly networks?: boolean;
}

/** The client's whole output; it never has an input unless one is given. */
export interface DockerClient {
  (...args: string[]): Promise<string>;
  attempt(args: readonly string[], options?: RunOptions): Promise<Outcome>;
}

export interface Docker extends AsyncDisposable {
  readonly dir: string;
  /** `unix://…`. */
  readonly host: string;
  readonly docker: DockerClient;
  /** Environment of a client of this dockerd. */
  readonly env: Readonly<Record<string, string>>;
  readonly pid: number;
  /** Of its version: 20, 28. */
  readonly major: number;
  log(): Promise<string>;
  /** SIGTERM, and waits for the end; with live-restore containers go on running. */
  stop(): Promise<void>;
  kill(): Promise<void>;
  /** On the same directories. */
  start(): Promise<void>;
}

const commandMs = 60_000;
const cgroups = '/sys/fs/cgroup';

export async function startDocker(options: DockerOptions): Promise<Docker> {
  const { binaries } = options;
  const dir = await mkdtemp(join(tmpdir(), 'g-docker-'));
  const cgroup = basename(dir);
  const host = `unix://${dir}/d.sock`;
  const version = /version (\d+)\./.exec(await run(binaries.dockerd, ['--version']))?.[1];
  const major = Number(version);
  const config = join(dir, 'daemon.json');
  await writeFile(config, JSON.stringify(configuration(dir, major, options)));
  const env = {
    PATH: [...binaries.folders, process.env['PATH'] ?? ''].join(delimiter),
    DOCKER_HOST: host,
    DOCKER_CONFIG: join(dir, 'client'),
    DOCKER_BUILDKIT: '0',
  };
  const docker = clientOf(binaries.docker, env);
  const logFile = join(dir, 'log');
  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();

  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    child?.kill(signal);
    await ended;
  };
  const daemon: Docker = {
    dir,
    host,
    docker,
    env,
    major,
    get pid() {
      return child?.pid ?? -1;
    },
    log: () => readFile(logFile, 'utf8'),
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    start: async () => {
      const inside =
        options.networks === true ? ['unshare', '-n', 'sh', '-c', 'ip link set lo up; exec "$@"', 'sh'] : [];
      const words = [...inside, binaries.dockerd, ...flags(dir, cgroup, host, options)];
      const running = spawn('sh', ['-c', 'exec "$@" >>"$LOG" 2>&1', 'sh', ...words], {
        stdio: 'ignore',
        env: { ...process.env, ...env, LOG: logFile },
      });
      child = running;
      ended = new Promise((resolve) => running.once('exit', () => resolve()));
      await until('dockerd serves', async () => {
        if (running.exitCode !== null || running.signalCode !== null)
          throw new Error(`dockerd ended early\n${await daemon.log()}`);
        return (await docker.attempt(['version'])).status === 0;
      });
    },
    [Symbol.asyncDispose]: async () => {
      await daemon.kill();
      await removeTraces(dir, cgroup);
    },
  };
  try {
    await daemon.start();
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
  return daemon;
}

const configuration = (dir: string, major: number, { storage, registries = [] }: DockerOptions): object => ({
  'live-restore': true,
  'insecure-registries': registries,
  'data-root': join(dir, 'data'),
  'exec-root': join(dir, 'exec'),
  // 20 makes a key of its own, in /etc unless it is told where.
  ...(major < 28 ? { 'deprecated-key-path': join(dir, 'key.json') } : {}),
  ...(storage === 'containerd'
    ? { features: { 'containerd-snapshotter': true } }
    : { features: { 'containerd-snapshotter': false }, 'storage-driver': 'overlay2' }),
});

const flags = (dir: string, cgroup: string, host: string, options: DockerOptions): string[] => [
  ...['--config-file', join(dir, 'daemon.json'), '--containerd', options.containerd],
  ...['--pidfile', join(dir, 'd.pid'), '-H', host, '--cgroup-parent', `/${cgroup}`],
  ...['--iptables=false', '--ip6tables=false', `--userland-proxy=${options.networks === true}`],
  ...(options.networks === true ? [] : ['--ip-forward=false', '--bridge=none']),
];

function clientOf(binary: string, env: Readonly<Record<string, string>>): DockerClient {
  const tryIt = (args: readonly string[], options: RunOptions = {}): Promise<Outcome> =>
    attempt(binary, args, { timeoutMs: commandMs, ...options, env: { ...env, ...options.env } });
  const client = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await tryIt(args);
    if (status !== 0) throw new Error(`docker ${args.join(' ')} exited ${status}\n${stderr}${stdout}`);
    return stdout;
  };
  return Object.assign(client, { attempt: tryIt });
}

/** Ends what is in the cgroup, and takes it and what is mounted or runs below `dir` away. */
async function removeTraces(dir: string, cgroup: string): Promise<void> {
  await until(`nothing of ${dir} runs`, async () => {
    const named = (await attempt('pgrep', ['-f', dir])).stdout.split('\n');
    const grouped = await Promise.all((await groupsNamed(cgroup)).map(processesBelow));
    const pids = [...named, ...grouped.flat()].filter((pid) => pid !== '');
    for (const pid of pids) if (existsSync(`/proc/${pid}`)) await attempt('kill', ['-KILL', pid]);
    return pids.length === 0;
  });
  for (const group of await groupsNamed(cgroup)) await removeGroup(group);
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(dir));
  for (const point of mounts.reverse()) await attempt('umount', ['-l', point]);
  await rm(dir, { recursive: true, force: true });
}

/** In each hierarchy of version 1, and in that of version 2. */
async function groupsNamed(name: string): Promise<string[]> {
  const above = [cgroups, ...(await readdir(cgroups)).map((controller) => join(cgroups, controller))];
  return above.map((directory) => join(directory, name)).filter((directory) => existsSync(directory));
}

async function processesBelow(group: string): Promise<string[]> {
  const inside = await readFile(join(group, 'cgroup.procs'), 'utf8').catch(() => '');
  const below = await Promise.all((await groupsBelow(group)).map(processesBelow));
  return [...inside.split('\n'), ...below.flat()];
}

async function removeGroup(group: string): Promise<void> {
  for (const below of await groupsBelow(group)) await removeGroup(below);
  await rmdir(group).catch(() => {});
}

async function groupsBelow(group: string): Promise<string[]> {
  const entries = await readdir(group, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(group, entry.name));
}
