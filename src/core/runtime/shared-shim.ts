/**
 * The shim of this house: one process for all containers of the daemon, of all namespaces. Started with the first
 * container, found again by a restarted daemon through its socket, gone some time after the last container.
 */
import { closeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { hasCode, unavailable } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { makePipe } from '../../platform/pipe.ts';
import type { Platform } from '../../platform/platform.ts';
import { pipeReader } from '../../wire/pipe.ts';
import type { DaemonAddresses, ShimProgram } from './foreign-shim.ts';
import type { ShimAddress } from './shim-address.ts';
import { ShimConnection } from './shim-connection.ts';
import { readShimLog } from './shim-log.ts';

/** How long it stays when it holds nothing, so that containers in a row find it warm. */
const graceMs = 30_000;

export interface SharedShimDependencies {
  readonly platform: Platform;
  readonly log: Logger;
}

export interface SharedShimOptions {
  readonly program: ShimProgram;
  readonly daemon: DaemonAddresses;
  /** Directory of its socket, its log and runc's state. */
  readonly directory: string;
}

export class SharedShim implements Disposable {
  readonly #dependencies: SharedShimDependencies;
  readonly #options: SharedShimOptions;
  #log: Disposable | undefined;

  constructor(dependencies: SharedShimDependencies, options: SharedShimOptions) {
    this.#dependencies = dependencies;
    this.#options = options;
  }

  get address(): ShimAddress {
    return { version: 3, address: `unix://${path.join(this.#options.directory, 'sock')}`, protocol: 'ttrpc' };
  }

  /** Program and words for `delete`. */
  get program(): ShimProgram {
    const { file, args } = this.#options.program;
    return { file, args: [...args, '-runc-root', this.#runcRoot] };
  }

  /** A connection to the running shim, which is started if need be. One caller at a time. Errors: Unavailable. */
  async connect({ signal }: { signal: AbortSignal }): Promise<ShimConnection> {
    await this.followLog();
    try {
      return await ShimConnection.open(this.address, { signal });
    } catch (error) {
      if (!hasCode(error, 'Unavailable')) throw error;
    }
    await this.#start();
    return ShimConnection.open(this.address, { signal });
  }

  /** Repeats its log in ours from now on. */
  async followLog(): Promise<void> {
    const { platform, log } = this.#dependencies;
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
    this.#log ??= readShimLog(platform.files, path.join(this.#options.directory, 'log'), log);
  }

  [Symbol.dispose](): void {
    this.#log?.[Symbol.dispose]();
  }

  get #runcRoot(): string {
    return path.join(this.#options.directory, 'runc');
  }

  async #start(): Promise<void> {
    const { files, processes } = this.#dependencies.platform;
    const { program, daemon, directory } = this.#options;
    const ready = makePipe(files);
    let pid: number;
    try {
      const logFd = files.openFifo(path.join(directory, 'log'), 'read-write', { nonBlocking: true });
      try {
        pid = processes.spawn({
          file: program.file,
          args: [
            ...program.args,
            ...['-address', daemon.grpcAddress, '-socket', path.join(directory, 'sock')],
            ...['-runc-root', this.#runcRoot, '-grace-ms', String(graceMs), 'serve'],
          ],
          cwd: '/',
          env: environment(daemon),
          stdio: ['null', 'null', logFd, ready.writeFd],
          newSession: true,
        });
      } finally {
        closeSync(logFd);
      }
    } finally {
      closeSync(ready.writeFd);
    }
    // Reaped when it ends; nobody waits for it.
    processes.exited(pid).catch(() => {});
    const problem = await readToEnd(ready.readFd);
    if (problem !== '') throw unavailable(`the shim did not start: ${problem}`);
    // As containerd: the kernel should take a shim after the containers, and before the daemon.
    processes.setOomScoreAdjust(pid, 1);
    this.#dependencies.log.debug({ pid }, 'shim started');
  }
}

function environment(daemon: DaemonAddresses): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;
  delete env['NOTIFY_SOCKET'];
  return { ...env, TTRPC_ADDRESS: daemon.ttrpcAddress, GRPC_ADDRESS: daemon.grpcAddress };
}

async function readToEnd(fd: number): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of pipeReader(fd)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
