/**
 * What the shim knows of a container, in its bundle: so that a later shim can take over, and the `delete` command can
 * clean up. It is written before each step whose effect must be found again; not synced, because a bundle means nothing
 * after a reboot.
 *
 * The file is JSON, a state a line, of which the last whole one counts: so a kill in the middle of a write leaves the
 * state before. A line is appended, which is the cheapest write there is; a file that has grown is replaced. (ext4
 * writes the data of a file out when it is renamed over another: 0.3 ms, which each start would pay several times.)
 */
import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IoPaths } from '../io/stdio.ts';
import type { CreateOptions } from '../process/options.ts';

/**
 * creating ─► created ─► starting ─► running ─► stopped ─► deleted for an init; an exec is `created` when it was
 * added, `starting` while runc launches it, and never `creating` nor `deleted`. The two words that end in -ing stand for
 * a runc that may still be at it.
 */
export type SavedPhase = 'creating' | 'created' | 'starting' | 'running' | 'stopped' | 'deleted';

/** The last event of a process's life that the daemon took: its creation, its start, its exit. */
export type Announced = 'nothing' | 'added' | 'started' | 'exited';

export interface SavedExit {
  readonly status: number;
  /** Nanoseconds since the epoch. */
  readonly exitedAt: string;
}

export interface SavedProcess {
  readonly id: string;
  readonly phase: SavedPhase;
  /** 0 before it has one. */
  readonly pid: number;
  /** To tell the process from another that got its pid (/proc/PID/stat field 22). */
  readonly startTicks: string | undefined;
  /** It was, or is, more than created; of a stopped one nothing else tells. */
  readonly started: boolean;
  readonly io: IoPaths;
  /** Outputs (1, 2) whose write end the shim keeps while the process lives. */
  readonly lateOutputs: readonly number[];
  /** CloseIO came. */
  readonly stdinClosed: boolean;
  readonly exit: SavedExit | undefined;
  readonly announced: Announced;
}

export type SavedCgroup =
  | { readonly version: 1; readonly controllers: Readonly<Record<string, string>> }
  | { readonly version: 2; readonly path: string };

export interface SavedContainer {
  readonly version: 2;
  readonly namespace: string;
  readonly id: string;
  readonly options: CreateOptions;
  /** The directory of the shim that holds it: another's link to the same bundle is a stale one. */
  readonly heldIn: string;
  /** The mounts of the create request, for its event. */
  readonly rootfs: readonly SavedMount[];
  /** Directory of a dump that the start will restore; "" for none. */
  readonly checkpoint: string;
  readonly cgroup: SavedCgroup | undefined;
  readonly paused: boolean;
  /** Kills for want of memory that were announced. */
  readonly oomKills: number;
  readonly init: SavedProcess;
  readonly execs: readonly SavedProcess[];
}

export interface SavedMount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

const pathIn = (bundle: string): string => join(bundle, 'gantry-shim.json');

/** A container with many execs writes many lines. */
const bytesMax = 64 * 1024;

export class StateFile {
  readonly #path: string;
  /** Undefined before the first write: what a shim before us left may end in half a line. */
  #bytes: number | undefined;

  constructor(bundle: string) {
    this.#path = pathIn(bundle);
  }

  /** Errors: the file system's. */
  save(state: SavedContainer): void {
    const line = `${JSON.stringify(state)}\n`;
    const bytes = Buffer.byteLength(line);
    if (this.#bytes === undefined || this.#bytes + bytes > bytesMax) {
      writeFileSync(`${this.#path}.new`, line, { mode: 0o600 });
      renameSync(`${this.#path}.new`, this.#path);
      this.#bytes = bytes;
      return;
    }
    const before = this.#bytes;
    // A write that fails may have come half way.
    this.#bytes = undefined;
    appendFileSync(this.#path, line, { mode: 0o600 });
    this.#bytes = before + bytes;
  }
}

/** Undefined when there is none, or none that we wrote. */
export function loadContainer(bundle: string): SavedContainer | undefined {
  try {
    const text = readFileSync(pathIn(bundle), 'utf8');
    const [line = ''] = text.slice(0, text.lastIndexOf('\n')).split('\n').slice(-1);
    const state = JSON.parse(line) as Partial<SavedContainer> | null;
    return state?.version === 2 &&
      typeof state.options?.runc?.root === 'string' &&
      typeof state.init?.pid === 'number' &&
      Array.isArray(state.execs)
      ? (state as SavedContainer)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Not an error when there is none. */
export function forgetContainer(bundle: string): void {
  rmSync(pathIn(bundle), { force: true });
}
