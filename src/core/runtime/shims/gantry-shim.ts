/**
 * One shim process of this house: for all containers of a group (shim-group.ts), of all namespaces. Started with the
 * first container, found again by a restarted daemon through its socket, gone some time after the last container. When
 * it dies, the next one takes over what `held/` in its directory names, before it says that it is ready.
 */
import { closeSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { hasCode, wrap } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import { childEnvironment } from '../../../platform/child-environment.ts';
import { sharedCompileCache } from '../../../platform/compile-cache.ts';
import type { Platform } from '../../../platform/platform.ts';
import { identify, type ProcessIdentity } from '../../../platform/process-identity.ts';
import { spawnUntilReady } from '../../../platform/ready-process.ts';
import { replaceFile } from '../../../platform/replace-file.ts';
import { SIGKILL } from '../../../platform/signals.ts';
import { pipeReader } from '../../../wire/pipe.ts';
import type { DaemonAddresses, ShimProgram } from './foreign-shim.ts';
import type { ShimAddress } from './shim-address.ts';
import { ShimConnection } from './shim-connection.ts';
import type { ShimGroup } from './shim-group.ts';
import { readShimLog } from './shim-log.ts';

export interface GantryShimDependencies {
  readonly platform: Platform;
  readonly log: Logger;
}

export interface GantryShimOptions {
  readonly program: ShimProgram;
  readonly daemon: DaemonAddresses;
  readonly group: ShimGroup;
}

export const shimAddressIn = (directory: string): ShimAddress => ({
  version: 3,
  address: `unix://${path.join(directory, 'sock')}`,
  protocol: 'ttrpc',
});

export class GantryShim implements Disposable {
  readonly #dependencies: GantryShimDependencies;
  readonly #options: GantryShimOptions;
  #log: Disposable | undefined;

  constructor(dependencies: GantryShimDependencies, options: GantryShimOptions) {
    this.#dependencies = dependencies;
    this.#options = options;
  }

  get directory(): string {
    return this.#options.group.directory;
  }

  get address(): ShimAddress {
    return shimAddressIn(this.directory);
  }

  /** Program and words for `delete`. */
  get program(): ShimProgram {
    const { file, args } = this.#options.program;
    return { file, args: [...args, '-runc-root', this.#runcRoot] };
  }

  /** A connection to the running shim, which is started if need be. One caller at a time. Errors: Unavailable. */
  async connect({ signal }: { signal: AbortSignal }): Promise<ShimConnection> {
    await this.#prepare();
    try {
      return await ShimConnection.open(this.address, { signal });
    } catch (error) {
      if (!hasCode(error, 'Unavailable')) throw error;
    }
    const pid = await this.#start(signal);
    try {
      return await ShimConnection.open(this.address, { signal });
    } catch (error) {
      this.#kill(pid);
      throw wrap('the shim says that it is ready and does not answer', error);
    }
  }

  /** The process that was started last, if it is still that one. */
  async processIdentity(): Promise<ProcessIdentity | undefined> {
    try {
      const [pid, startTicks = ''] = (await readFile(this.#pidFile, 'utf8')).trim().split(' ');
      return { pid: Number(pid), startTicks };
    } catch {
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    this.#log?.[Symbol.dispose]();
    this.#log = undefined;
  }

  get #pidFile(): string {
    return path.join(this.directory, 'pid');
  }

  get #runcRoot(): string {
    return path.join(this.directory, 'runc');
  }

  /** Its log is repeated in ours from now on. */
  async #prepare(): Promise<void> {
    const { platform, log } = this.#dependencies;
    const { cgroup } = this.#options.group;
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    // The next shim of this directory has to be put there as well, also by another daemon.
    if (cgroup !== '') await writeFile(path.join(this.directory, 'cgroup'), cgroup, { mode: 0o600 });
    this.#log ??= readShimLog(platform.files, path.join(this.directory, 'log'), log);
  }

  /** Errors: Unavailable with what the shim said; no process is left then. */
  async #start(signal: AbortSignal): Promise<number> {
    const { platform, log } = this.#dependencies;
    const { program, daemon, group } = this.#options;
    const logFd = platform.files.openFifo(path.join(this.directory, 'log'), 'read-write', {
      nonBlocking: true,
    });
    const args = [
      ...program.args,
      ...['-address', daemon.grpcAddress, '-socket', path.join(this.directory, 'sock')],
      ...['-runc-root', this.#runcRoot, '-grace-ms', String(group.graceMs), 'serve'],
    ];
    try {
      const pid = await spawnUntilReady(
        { platform, readPipe: pipeReader },
        {
          file: program.file,
          args,
          env: childEnvironment({
            ...sharedCompileCache(),
            TTRPC_ADDRESS: daemon.ttrpcAddress,
            GRPC_ADDRESS: daemon.grpcAddress,
          }),
          log: logFd,
          cgroup: this.#cgroup(),
          // As containerd: the kernel should take a shim after the containers, and before the daemon.
          oomScoreAdjust: 1,
          onSpawned: (spawned) => this.#savePid(spawned),
        },
        { signal },
      );
      log.debug({ pid, directory: this.directory }, 'shim started');
      return pid;
    } catch (error) {
      throw wrap('the shim did not start', error);
    } finally {
      closeSync(logFd);
    }
  }

  #kill(pid: number): void {
    try {
      this.#dependencies.platform.processes.kill(pid, SIGKILL);
    } catch (error) {
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }

  #savePid(pid: number): void {
    const startTicks = identify(this.#dependencies.platform.processes, pid)?.startTicks ?? '';
    replaceFile(this.#pidFile, `${pid} ${startTicks}\n`, { mode: 0o600 });
  }

  #cgroup(): string {
    try {
      return readFileSync(path.join(this.directory, 'cgroup'), 'utf8');
    } catch {
      return '';
    }
  }
}
