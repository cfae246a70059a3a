/**
 * What a shim of this house notes of a container in its bundle, as `gantry-shim.json`. The shim writes it
 * (src/shim/bundle/state-file.ts), a later shim and the daemon read it.
 *
 * The file is JSON, a state a line, of which the last whole one counts: so a kill in the middle of a write leaves the
 * state before.
 */
export const shimStateFile = 'gantry-shim.json';

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

/** A program that reads the output of a process (`binary://`). */
export interface SavedLogProgram {
  readonly pid: number;
  /** As that of a process. */
  readonly startTicks: string | undefined;
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
  /** Paths of FIFOs or log URIs; "" for none. */
  readonly io: {
    readonly stdin: string;
    readonly stdout: string;
    readonly stderr: string;
    readonly terminal: boolean;
  };
  /** Outputs (1, 2) whose write end the shim keeps while the process lives. */
  readonly lateOutputs: readonly number[];
  /** Absent where nothing of the kind was started, and in notes of shims that did not know it. */
  readonly logProgram?: SavedLogProgram | undefined;
  /** CloseIO came. */
  readonly stdinClosed: boolean;
  readonly exit: SavedExit | undefined;
  readonly announced: Announced;
}

export type SavedCgroup =
  | { readonly version: 1; readonly controllers: Readonly<Record<string, string>> }
  | { readonly version: 2; readonly path: string };

/** The runc options of the create. */
export interface SavedOptions {
  readonly runc: {
    readonly binary: string;
    /** runc's state directory of the namespace. */
    readonly root: string;
    readonly systemdCgroup: boolean;
  };
  readonly noPivotRoot: boolean;
  readonly noNewKeyring: boolean;
  readonly ioOwner: { readonly uid: number; readonly gid: number };
  /** A dump to start from; "" for none. */
  readonly criuImagePath: string;
  readonly criuWorkPath: string;
}

export interface SavedContainer {
  readonly version: 2;
  readonly namespace: string;
  readonly id: string;
  readonly options: SavedOptions;
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

/** The state that a file tells; undefined when it holds none that this version wrote. */
export function parseShimState(text: string): SavedContainer | undefined {
  const [line = ''] = text.slice(0, text.lastIndexOf('\n')).split('\n').slice(-1);
  try {
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
