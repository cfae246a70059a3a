/**
 * A directory of network configurations and what was last found in it.
 *
 * It is watched, and read when it is asked for and something happened: an event, another directory in its place, a
 * failure before, no watch. So a file that is put there counts at once, and a directory that is made later is found.
 */
import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { ContainerdError } from '../../base/errors.ts';
import { loadCniNetworks } from '../cni-config.ts';
import { type NetworkPlan, planNetwork } from './cni-protocol.ts';

export interface NetworkDirectoryOptions {
  readonly confDir: string;
  /** The first ones by name; 0 for all. */
  readonly maxConfNum: number;
}

type Loaded = { readonly plans: readonly NetworkPlan[] } | { readonly failure: ContainerdError };

export class NetworkDirectory implements Disposable {
  readonly confDir: string;
  readonly #maxConfNum: number;
  #watcher: FSWatcher | undefined;
  /** Of the last event; what is read while another one comes is not kept. */
  #changes = 0;
  #kept: { readonly changes: number; readonly identity: string; readonly loaded: Loaded } | undefined;
  #disposed = false;

  constructor({ confDir, maxConfNum }: NetworkDirectoryOptions) {
    this.confDir = confDir;
    this.#maxConfNum = maxConfNum;
  }

  /** Errors: FailedPrecondition when there is no configuration, or one that is no good. */
  async plans(): Promise<readonly NetworkPlan[]> {
    const loaded = await this.#load();
    if ('failure' in loaded) throw loaded.failure;
    return loaded.plans;
  }

  /** What `plans` would throw; undefined when it would not. */
  async failure(): Promise<ContainerdError | undefined> {
    const loaded = await this.#load();
    return 'failure' in loaded ? loaded.failure : undefined;
  }

  async #load(): Promise<Loaded> {
    this.#watch();
    const identity = await identityOf(this.confDir);
    const kept = this.#kept;
    if (kept !== undefined && kept.identity !== identity) {
      // It may be another directory, which the watch does not see.
      this.#unwatch();
      this.#watch();
    }
    if (
      this.#watcher !== undefined &&
      kept !== undefined &&
      'plans' in kept.loaded &&
      kept.changes === this.#changes &&
      kept.identity === identity
    )
      return kept.loaded;
    const changes = this.#changes;
    const loaded = await read(this.confDir, this.#maxConfNum);
    this.#kept = { changes, identity, loaded };
    return loaded;
  }

  #watch(): void {
    if (this.#watcher !== undefined || this.#disposed) return;
    try {
      const watcher = watch(this.confDir, { persistent: false }, () => {
        this.#changes += 1;
      });
      watcher.on('error', () => this.#unwatch());
      this.#watcher = watcher;
    } catch {
      // It is not there, or the kernel has no watch left: then it is read each time.
    }
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#unwatch();
  }
}

async function read(confDir: string, maxConfNum: number): Promise<Loaded> {
  try {
    return { plans: (await loadCniNetworks(confDir, maxConfNum)).map(planNetwork) };
  } catch (error) {
    return { failure: ContainerdError.from(error) };
  }
}

/** Changes when a name in it does, before the event comes, and when another directory takes its place. */
async function identityOf(path: string): Promise<string> {
  try {
    const { dev, ino, mtimeNs } = await stat(path, { bigint: true });
    return `${dev} ${ino} ${mtimeNs}`;
  } catch {
    return '';
  }
}
