/**
 * What the shim knows of a container, in its bundle: so that the `delete` command can clean up after a shim that was
 * killed, and a later shim can take over. Written before a call is answered, by rename, so it is never half there.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IoPaths } from '../io/stdio.ts';
import type { RuncSetup } from '../runc/runc-arguments.ts';

export interface SavedExit {
  readonly status: number;
  /** Nanoseconds since the epoch. */
  readonly exitedAt: string;
}

export interface SavedProcess {
  readonly id: string;
  readonly pid: number;
  /** To tell the process from another that got its pid (/proc/PID/stat field 22). */
  readonly startTicks: string | undefined;
  readonly io: IoPaths;
  readonly exit: SavedExit | undefined;
}

export interface SavedContainer {
  readonly version: 1;
  readonly namespace: string;
  readonly id: string;
  readonly runc: RuncSetup;
  readonly shimPid: number;
  readonly init: SavedProcess;
  readonly execs: readonly SavedProcess[];
}

const fileName = 'gantry-shim.json';

export function saveContainer(bundle: string, state: SavedContainer): void {
  const path = join(bundle, fileName);
  writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Undefined when there is none, or none that we wrote. */
export function loadContainer(bundle: string): SavedContainer | undefined {
  try {
    const state = JSON.parse(readFileSync(join(bundle, fileName), 'utf8')) as Partial<SavedContainer> | null;
    return state?.version === 1 && typeof state.runc?.root === 'string' && typeof state.init?.pid === 'number'
      ? (state as SavedContainer)
      : undefined;
  } catch {
    return undefined;
  }
}
