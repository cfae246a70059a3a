/**
 * What the shim knows of a container, in its bundle: so that a later shim can take over, and the `delete` command can
 * clean up. It is written before each step whose effect must be found again, by rename, so it is never half there; not
 * synced, because a bundle lives on tmpfs and means nothing after a reboot.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
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

export function saveContainer(bundle: string, state: SavedContainer): void {
  const path = pathIn(bundle);
  writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Undefined when there is none, or none that we wrote. */
export function loadContainer(bundle: string): SavedContainer | undefined {
  try {
    const state = JSON.parse(readFileSync(pathIn(bundle), 'utf8')) as Partial<SavedContainer> | null;
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
