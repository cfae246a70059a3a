/** Every shim that the daemon knows a way to, one link an address. Ours are told from foreign ones by their address. */
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from '../../../base/logger.ts';
import type { Platform } from '../../../platform/platform.ts';
import type { DaemonAddresses, ShimProgram } from './foreign-shim.ts';
import { GantryShim, shimAddressIn } from './gantry-shim.ts';
import type { ShimAddress } from './shim-address.ts';
import { ShimConnection } from './shim-connection.ts';
import { nodeGroup, type ShimGroup } from './shim-group.ts';
import { ShimLink } from './shim-link.ts';

export interface ShimLinksDependencies {
  readonly platform: Platform;
  readonly log: Logger;
  readonly onLost: (link: ShimLink) => void;
}

export interface ShimLinksOptions {
  /** Directories of groups are in it. */
  readonly baseDir: string;
  readonly program: ShimProgram;
  readonly daemon: DaemonAddresses;
}

export class ShimLinks implements AsyncDisposable {
  readonly #dependencies: ShimLinksDependencies;
  readonly #options: ShimLinksOptions;
  readonly #links = new Map<string, ShimLink>();
  readonly #removals = new Map<string, Promise<void>>();

  constructor(dependencies: ShimLinksDependencies, options: ShimLinksOptions) {
    this.#dependencies = dependencies;
    this.#options = options;
  }

  get all(): readonly ShimLink[] {
    return [...this.#links.values()];
  }

  /** The shim of a group; its process is started by the first call. */
  forGroup(group: ShimGroup): ShimLink {
    const { platform, log } = this.#dependencies;
    const { program, daemon } = this.#options;
    const address = shimAddressIn(group.directory);
    return this.#link(address, () => new GantryShim({ platform, log }, { program, daemon, group }));
  }

  /** Whatever shim listens at an address that a bundle names. */
  at(address: ShimAddress): ShimLink {
    const group = this.#groupAt(address);
    return group === undefined ? this.#link(address, () => undefined) : this.forGroup(group);
  }

  /** The built-in shim's program with the words of the group at `address`, for `delete`. */
  programAt(address: ShimAddress | undefined): ShimProgram {
    const group = address === undefined ? undefined : this.#groupAt(address);
    const { platform, log } = this.#dependencies;
    const { program, daemon, baseDir } = this.#options;
    return new GantryShim({ platform, log }, { program, daemon, group: group ?? nodeGroup(baseDir) }).program;
  }

  /** Closes the link, which nobody holds any more; its shim goes on. Another link of that address is left alone. Never rejects. */
  async drop(link: ShimLink): Promise<void> {
    if (this.#links.get(link.address.address) === link) this.#links.delete(link.address.address);
    await link[Symbol.asyncDispose]();
  }

  /**
   * Drops the link. A group of its own has ended, and its shim with it: its directory goes, unless it holds a container or
   * somebody listens there. Errors: the file system's.
   */
  async removeGroup(link: ShimLink): Promise<void> {
    const { gantry } = link;
    await this.drop(link);
    if (gantry !== undefined && gantry.directory !== nodeGroup(this.#options.baseDir).directory)
      await this.#remove(gantry.directory);
  }

  /**
   * Directories of groups that no bundle names, left by an earlier daemon: their idle shims are told to go. Errors: the
   * file system's.
   */
  async sweep({ signal }: { signal: AbortSignal }): Promise<void> {
    const node = nodeGroup(this.#options.baseDir).directory;
    const known = new Set(this.all.map(({ gantry }) => gantry?.directory));
    for (const name of await readdir(this.#options.baseDir).catch(() => [])) {
      const directory = path.join(this.#options.baseDir, name);
      if (directory === node || known.has(directory) || !name.startsWith('g-')) continue;
      try {
        await using shim = await ShimConnection.open(shimAddressIn(directory), { signal });
        await shim.call('shutdown', { id: '', now: true }, { signal });
      } catch {
        // Nobody is there, or nobody who answers; then the directory stays.
      }
      await this.#remove(directory);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((link) => this.drop(link)));
  }

  /** A shim that is started there meanwhile waits until it is done. */
  async #remove(directory: string): Promise<void> {
    if (this.#links.has(shimAddressIn(directory).address) || this.#removals.has(directory)) return;
    const removal = this.#removeIfUnused(directory).finally(() => this.#removals.delete(directory));
    this.#removals.set(directory, removal);
    await removal;
  }

  /** What holds a container, or still listens, stays. */
  async #removeIfUnused(directory: string): Promise<void> {
    const held = await readdir(path.join(directory, 'held'), { recursive: true }).catch(() => []);
    const holds = held.some((name) => name.includes(path.sep));
    const listens = await ShimConnection.open(shimAddressIn(directory), {
      signal: AbortSignal.timeout(100),
    }).then(
      async (shim) => {
        await shim[Symbol.asyncDispose]();
        return true;
      },
      () => false,
    );
    if (!holds && !listens) await rm(directory, { recursive: true, force: true });
  }

  #groupAt({ address }: ShimAddress): ShimGroup | undefined {
    const { baseDir } = this.#options;
    const file = address.replace(/^unix:\/\//, '');
    const directory = path.dirname(file);
    if (path.basename(file) !== 'sock' || path.dirname(directory) !== baseDir) return undefined;
    const node = nodeGroup(baseDir);
    // The cgroup of such a shim is noted in its directory.
    return directory === node.directory ? node : { directory, cgroup: '', graceMs: 0 };
  }

  #link(address: ShimAddress, gantry: () => GantryShim | undefined): ShimLink {
    const known = this.#links.get(address.address);
    if (known !== undefined) return known;
    const { platform, log, onLost } = this.#dependencies;
    const vacated = async (directory: string): Promise<void> =>
      this.#removals.get(directory)?.catch(() => {});
    const dependencies = { processes: platform.processes, log, onLost, vacated };
    const link = new ShimLink(dependencies, { address, gantry: gantry() });
    this.#links.set(address.address, link);
    return link;
  }
}
