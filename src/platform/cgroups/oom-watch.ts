/**
 * Tells when the kernel kills processes of a container for want of memory.
 *
 * What counts is the number of kills that the cgroup's own files give; a notification only says when to look. A
 * notification alone would be wrong in both directions: version 1 tells every cgroup below the one that is full, also
 * those that lost nothing, and says nothing when the whole machine is out of memory. Each kill is told once, either
 * by `onOom` or by `drain`, which the exit of a process asks so that the reason is known before the end.
 *
 * Differs from containerd: of version 1 it publishes each notification, also for neighbours of the victim.
 */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CgroupOperations } from '../platform.ts';
import { CgroupFolder, parseFlatKeyed } from './cgroup-files.ts';
import type { CgroupPaths } from './cgroup-paths.ts';

export interface OomWatchDependencies {
  readonly cgroups: CgroupOperations;
  /** The container's own cgroup (cgroupOf), while it exists. */
  readonly cgroup: CgroupPaths;
  /** Kills that nobody was told of yet. */
  readonly onOom: () => void;
}

export interface OomWatchOptions {
  /** Kills that were told already, for a container that is taken over. Default: those that stand there now. */
  readonly seen?: number;
}

/** Version 1 notifies before it kills: how long after a notification the count is looked at again. */
const lookAgainMs = [5, 50, 500] as const;

/** File by which the memory controller tells; undefined without one. */
export function oomFile(cgroup: CgroupPaths): string | undefined {
  if (cgroup.version === 2) return join(cgroup.path, 'memory.events');
  const memory = cgroup.controllers.get('memory');
  return memory === undefined ? undefined : join(memory, 'memory.oom_control');
}

export class OomWatch implements Disposable {
  readonly #dependencies: OomWatchDependencies;
  readonly #file: string | undefined;
  #seen: number;
  #stalled = false;
  #events: Disposable | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(dependencies: OomWatchDependencies, { seen }: OomWatchOptions = {}) {
    this.#dependencies = dependencies;
    this.#file = oomFile(dependencies.cgroup);
    this.#seen = seen ?? this.#kills();
  }

  /** How many kills were told, to be kept for whoever takes the container over. */
  get seen(): number {
    return this.#seen;
  }

  /**
   * Begins to call `onOom`. Without it `drain` tells as well, only later. Errors: NotFound when the cgroup is gone,
   * ResourceExhausted without descriptors or watches.
   */
  listen(): void {
    if (this.#file === undefined || this.#events !== undefined) return;
    this.#events = this.#dependencies.cgroups.watchMemory(this.#file, () => this.#look(0));
    // What happened between the constructor and now was notified to nobody.
    if (this.drain()) this.#dependencies.onOom();
  }

  /** Whether there were kills, or a standstill, that nobody was told of; they count as told from now on. */
  drain(): boolean {
    const kills = this.#kills();
    const grew = kills > this.#seen;
    this.#seen = kills;
    return this.#stands() || grew;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#events?.[Symbol.dispose]();
    this.#events = undefined;
  }

  #look(attempt: number): void {
    clearTimeout(this.#timer);
    if (this.drain()) {
      this.#dependencies.onOom();
      return;
    }
    const pauseMs = lookAgainMs[attempt];
    if (pauseMs === undefined || this.#events === undefined) return;
    this.#timer = setTimeout(() => this.#look(attempt + 1), pauseMs).unref();
  }

  #kills(): number {
    if (this.#file === undefined) return 0;
    const directory = dirname(this.#file);
    // Version 2 counts what happens below as well, version 1 each cgroup for itself.
    return this.#dependencies.cgroup.version === 2
      ? killsIn(directory, 'memory.events')
      : killsBelow(directory, 'memory.oom_control');
  }

  /** Version 1 may be told not to kill (oom_kill_disable): then everything stands still, which is told once. */
  #stands(): boolean {
    if (this.#file === undefined || this.#dependencies.cgroup.version === 2) return false;
    const values = flat(dirname(this.#file), 'memory.oom_control');
    const stands = values.get('oom_kill_disable') === 1n && values.get('under_oom') === 1n;
    const isNew = stands && !this.#stalled;
    this.#stalled = stands;
    return isNew;
  }
}

/** A cgroup that is gone has killed nobody. */
function flat(directory: string, file: string): ReadonlyMap<string, bigint> {
  return parseFlatKeyed(new CgroupFolder(directory).read(file));
}

const killsIn = (directory: string, file: string): number =>
  Number(flat(directory, file).get('oom_kill') ?? 0n);

function killsBelow(directory: string, file: string): number {
  let kills = killsIn(directory, file);
  for (const name of directoriesIn(directory)) kills += killsBelow(join(directory, name), file);
  return kills;
}

function directoriesIn(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}
