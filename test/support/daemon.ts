/**
 * Daemons on private roots and sockets: ours, and real containerds as peers. Disposing one stops it, kills what it
 * left running, and takes its mounts and directories away.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { mountsBelow } from '../../src/testing/held.ts';
import { until } from '../../src/testing/until.ts';
import { type Ctr, ctrOf } from './ctr.ts';
import { peerBinaries } from './peers.ts';
import { attempt } from './run.ts';

export interface Daemon extends AsyncDisposable {
  readonly name: string;
  readonly address: string;
  readonly root: string;
  readonly state: string;
  /** ctr 2.x against this daemon (or Debian's where the peer cannot be had). */
  readonly ctr: Ctr;
  readonly pid: number;
  /** What the daemon has logged so far. */
  log(): Promise<string>;
  /** SIGTERM, and waits for the end; containers go on running. */
  stop(): Promise<number | null>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same root. */
  start(): Promise<void>;
}

export interface DaemonOptions {
  /** Further lines of config.toml. */
  readonly config?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** Of a peer: with its CRI, whose networks and namespaces `config` keeps to private directories. */
  readonly cri?: boolean;
  /** Of a peer: with its NRI, which `config` keeps to private paths. It starts with the CRI. */
  readonly nri?: boolean;
}

const repository = join(import.meta.dirname, '../..');

/** A directory short enough for the socket paths below it. */
const privateDir = (name: string): Promise<string> => mkdtemp(join(tmpdir(), `g-${name}-`));

const nriTable = `[plugins."io.containerd.nri.v1.nri"]`;

/** Settings by which NRI touches nothing but `dir`. */
export const nriConfig = (dir: string): string =>
  `${nriTable}\nsocket_path = "${dir}/nri.sock"\nplugin_path = "${dir}/nri"\nplugin_config_path = "${dir}/nri.d"\n`;

export async function startGantry(options: DaemonOptions = {}): Promise<Daemon> {
  const dir = await privateDir('ours');
  const config = join(dir, 'config.toml');
  const opt = `[plugins."io.containerd.internal.v1.opt"]\npath = "${dir}/opt"\n`;
  // A test that wants NRI asks for paths of its own.
  const nri = options.config?.includes(nriTable) === true ? '' : nriConfig(dir);
  await writeFile(config, `version = 3\n${options.config ?? ''}\n${opt}${nri}`);
  return launch('gantry', dir, options, [
    join(repository, 'bin/gantryd'),
    ...[
      '--config',
      config,
      '--root',
      join(dir, 'root'),
      '--state',
      join(dir, 'state'),
      '--address',
      join(dir, 's.sock'),
    ],
    ...(options.args ?? []),
  ]);
}

/** Plugins of a real containerd that would touch the machine outside of its private directories. */
const peerDisabled = ['io.containerd.internal.v1.opt'];
const peerNri = 'io.containerd.nri.v1.nri';
const peerCri = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime'];

/** containerd 2.1 where it can be had, Debian's 1.6 where not: `name` says which. */
export const startPeer = async (options: DaemonOptions = {}): Promise<Daemon> =>
  startContainerd(await peerBinaries(), options);

export async function startContainerd(binaries: string, options: DaemonOptions = {}): Promise<Daemon> {
  const dir = await privateDir('peer');
  const config = join(dir, 'config.toml');
  const disabled = [
    ...peerDisabled,
    ...(options.cri === true ? [] : peerCri),
    ...(options.nri === true ? [] : [peerNri]),
  ];
  await writeFile(
    config,
    `version = 2\nroot = "${dir}/root"\nstate = "${dir}/state"\ndisabled_plugins = ${JSON.stringify(disabled)}\n` +
      `[grpc]\naddress = "${dir}/s.sock"\n[ttrpc]\naddress = "${dir}/s.sock.ttrpc"\n${options.config ?? ''}`,
  );
  const env = { PATH: `${binaries}${delimiter}${process.env['PATH'] ?? ''}`, ...options.env };
  return launch('containerd', dir, { ...options, env }, [join(binaries, 'containerd'), '-c', config]);
}

async function launch(
  name: string,
  dir: string,
  options: DaemonOptions,
  command: readonly string[],
): Promise<Daemon> {
  const address = join(dir, 's.sock');
  const logFile = join(dir, 'log');
  let child: ChildProcess | undefined;
  let ended: Promise<number | null> = Promise.resolve(null);

  const start = async (): Promise<void> => {
    const [file, ...args] = command;
    await writeFile(logFile, '', { flag: 'a' });
    // The log goes to a file by the shell's own redirection, so that it outlives a killed daemon.
    child = spawn('sh', ['-c', 'exec "$@" >>"$LOG" 2>&1', 'sh', file as string, ...args], {
      stdio: 'ignore',
      env: { ...process.env, ...options.env, LOG: logFile },
    });
    const running = child;
    ended = new Promise((resolve) => running.once('exit', (code) => resolve(code)));
    await until(`${name} serves`, async () => {
      if (running.exitCode !== null || running.signalCode !== null)
        throw new Error(`${name} ended early\n${await readFile(logFile, 'utf8')}`);
      return (await attempt('ctr', ['-a', address, '--timeout', '2s', 'version'])).status === 0;
    });
  };

  const daemon: Daemon = {
    name,
    address,
    root: join(dir, 'root'),
    state: join(dir, 'state'),
    ctr: ctrOf(join(await peerBinaries(), 'ctr'), address),
    get pid() {
      return child?.pid ?? -1;
    },
    log: () => readFile(logFile, 'utf8'),
    start,
    stop: () => {
      child?.kill('SIGTERM');
      return ended;
    },
    kill: async () => {
      child?.kill('SIGKILL');
      await ended;
    },
    [Symbol.asyncDispose]: async () => {
      await daemon.stop();
      await removeTraces(dir);
    },
  };
  try {
    await start();
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
  return daemon;
}

/** Kills shims and containers that carry `dir` in their command line, unmounts what is below it, and removes it. */
async function removeTraces(dir: string): Promise<void> {
  await until(`nothing of ${dir} runs`, async () => {
    const pids = (await attempt('pgrep', ['-f', dir])).stdout.split('\n').filter((pid) => pid !== '');
    for (const pid of pids) if (existsSync(`/proc/${pid}`)) await attempt('kill', ['-KILL', pid]);
    return pids.length === 0;
  });
  for (const point of mountsBelow(dir).toReversed()) await attempt('umount', ['-l', point]);
  await rm(dir, { recursive: true, force: true });
}
