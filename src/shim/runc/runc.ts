/**
 * Runs runc. One call, one process, no output pipe: a pipe would stay open as long as the container it made
 * (`runc create` hands its own stdio down). Why a call failed is read from runc's log file.
 *
 * What runc's `start` and `delete` do for an ordinary container is so little that it is done here, without a process
 * (docs/decisions/0120-start-path.md). Where anything is out of the ordinary runc is asked, and has the words for it.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ContainerdError, unknown } from '../../base/errors.ts';
import { childEnvironment } from '../../platform/child-environment.ts';
import { runCommand } from '../../platform/command.ts';
import type { Platform, ProcessOperations, StdioTarget } from '../../platform/platform.ts';
import { deleteDirectly } from './direct-delete.ts';
import { execFifo, startDirectly, waitsOn } from './exec-fifo.ts';
import { deleteWords, globalWords, type RuncSetup } from './runc-arguments.ts';
import { runcError } from './runc-log.ts';
import { readRuncState } from './runc-state.ts';

export interface RuncCall {
  /** "OCI runtime create failed": stands before the reason. */
  readonly doing: string;
  readonly words: readonly string[];
  /** The bundle: where runc's log of this call is kept while it runs. */
  readonly directory: string;
  /** The container's own descriptors; nothing when absent. */
  readonly stdio?: readonly StdioTarget[];
}

const noStdio: readonly StdioTarget[] = ['null', 'null', 'null'];
/** By their log in the bundle, runc processes are known for those of a shim. */
export const logPrefix = 'runc-';
let calls = 0;

export class Runc {
  readonly #platform: Pick<Platform, 'files' | 'processes'>;
  readonly #processes: ProcessOperations;
  readonly setup: RuncSetup;

  constructor(platform: Pick<Platform, 'files' | 'processes'>, setup: RuncSetup) {
    this.#platform = platform;
    this.#processes = platform.processes;
    this.setup = setup;
  }

  /** Lets a created container go on to its program. `directory` as in RuncCall. Errors: as `run`. */
  async start(id: string, directory: string): Promise<void> {
    const state = readRuncState(this.setup, id);
    if (state !== undefined && (await startDirectly(this.#platform, state))) return;
    await this.run({ doing: 'OCI runtime start failed', words: ['start', id], directory });
  }

  /**
   * Of a container whose init was reaped, or that never was started, which `force` ends. `directory` as in RuncCall.
   * Errors: NotFound when runc does not know it; as `run`.
   */
  async delete(id: string, directory: string, { force }: { readonly force: boolean }): Promise<void> {
    const state = force ? undefined : readRuncState(this.setup, id);
    if (state !== undefined && deleteDirectly(state)) return;
    await this.run({ doing: 'OCI runtime delete failed', words: deleteWords(id, force), directory });
  }

  /** Errors: by what runc says (runc-log.ts), Unknown when it cannot be started. */
  async run(call: RuncCall): Promise<void> {
    calls += 1;
    const log = join(call.directory, `${logPrefix}${call.words[0]}-${calls}.log`);
    try {
      const status = await this.#spawn(call, log);
      if (status !== 0) throw runcError(call.doing, status, readLog(log), this.setup.binary);
    } finally {
      rmSync(log, { force: true });
    }
  }

  async #spawn(call: RuncCall, log: string): Promise<number> {
    let pid: number;
    try {
      pid = this.#processes.spawn({
        file: this.setup.binary,
        args: [...globalWords(this.setup, log), ...call.words],
        cwd: call.directory,
        env: environment(),
        stdio: call.stdio ?? noStdio,
      });
    } catch (error) {
      const { message } = ContainerdError.from(error);
      // Not NotFound: that would say that there is no such container.
      throw unknown(
        `${call.doing}: ${message}; install runc, or name another runtime binary in the runtime options`,
        error,
      );
    }
    return (await this.#processes.exited(pid)).status;
  }

  /**
   * What runc itself says of a container: "created", "running", …; undefined when it does not know it. One that was
   * started by `start` and whose FIFO was not taken away any more is running.
   */
  async status(id: string, signal: AbortSignal): Promise<string | undefined> {
    const status = await this.#toldStatus(id, signal);
    const state = status === 'created' ? readRuncState(this.setup, id) : undefined;
    if (state === undefined) return status;
    return waitsOn(state.pid, execFifo(state.directory)) ? status : 'running';
  }

  async #toldStatus(id: string, signal: AbortSignal): Promise<string | undefined> {
    const { status, stdout } = await runCommand(this.#processes, {
      file: this.setup.binary,
      args: ['--root', this.setup.root, 'state', id],
      env: environment(),
      signal,
    });
    if (status !== 0) return undefined;
    const state = JSON.parse(stdout.toString('utf8')) as { status?: unknown };
    return typeof state.status === 'string' ? state.status : undefined;
  }

  /** JSON of `runc features`; undefined where the binary does not know the word. */
  async features(signal: AbortSignal): Promise<Buffer | undefined> {
    const { status, stdout } = await runCommand(this.#processes, {
      file: this.setup.binary,
      args: ['features'],
      env: environment(),
      signal,
    });
    return status === 0 ? stdout : undefined;
  }
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It failed before it opened its log.
    return '';
  }
}

/** runc has ended before a collection of garbage pays. The limit is for hooks, which inherit it; containers do not. */
const environment = (): Record<string, string> => ({
  GOGC: 'off',
  GOMEMLIMIT: '64MiB',
  ...childEnvironment(),
});
