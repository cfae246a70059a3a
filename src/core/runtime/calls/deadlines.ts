/**
 * How long each call into a shim may take before it counts as stuck. Names are containerd's where it has one; the rest
 * are of the same form, for containerd has no deadline there and hangs. A wait has none here either: processes run for
 * years.
 */
import { limits } from '../../../base/limits.ts';
import type { TaskClient } from '../shims/shim-connection.ts';

/** Names as in `[timeouts]`, without `io.containerd.timeout.`. */
const defaultsMs = {
  'shim.load': limits.shimLoadMs,
  'shim.cleanup': limits.shimCleanupMs,
  'shim.shutdown': limits.shimShutdownMs,
  'shim.start': limits.shimStartMs,
  'task.state': limits.taskStateMs,
  'metrics.shimstats': limits.taskStateMs,
  'task.create': limits.taskStartMs,
  'task.start': limits.taskStartMs,
  'task.kill': limits.taskKillMs,
  'task.delete': limits.taskDeleteMs,
  'task.change': limits.taskChangeMs,
  'task.checkpoint': limits.taskCheckpointMs,
  'task.escalation': limits.escalationStepMs,
} as const;

export type DeadlineName = keyof typeof defaultsMs;
type Method = keyof TaskClient;
export type BoundedMethod = Exclude<Method, 'wait'>;

const nameOfMethod: Readonly<Record<BoundedMethod, DeadlineName>> = {
  state: 'task.state',
  pids: 'task.state',
  connect: 'task.state',
  stats: 'metrics.shimstats',
  create: 'task.create',
  start: 'task.start',
  kill: 'task.kill',
  delete: 'task.delete',
  exec: 'task.change',
  pause: 'task.change',
  resume: 'task.change',
  update: 'task.change',
  resizePty: 'task.change',
  closeIO: 'task.change',
  checkpoint: 'task.checkpoint',
  shutdown: 'shim.shutdown',
};

/** What a timer of Node can hold; a deadline of 0 is none. */
const neverMs = 2 ** 31 - 1;

/** Names that containerd has too. */
const containerdNames: ReadonlySet<string> = new Set([
  'shim.load',
  'shim.cleanup',
  'shim.shutdown',
  'task.state',
  'metrics.shimstats',
]);

export interface NamedDeadline {
  readonly name: string;
  /** Under which it is documented: containerd's own prefix for its own names. */
  readonly prefix: string;
  readonly defaultMs: number;
}

export const namedDeadlines: readonly NamedDeadline[] = Object.entries(defaultsMs).map(
  ([name, defaultMs]) => ({
    name,
    prefix: containerdNames.has(name) ? 'io.containerd.timeout.' : 'io.gantry.timeout.',
    defaultMs,
  }),
);

export class Deadlines {
  readonly #overridesMs: ReadonlyMap<string, number>;

  constructor(overridesMs: ReadonlyMap<string, number> = new Map()) {
    this.#overridesMs = overridesMs;
  }

  ms(name: DeadlineName): number {
    const ms = this.#overridesMs.get(name) ?? defaultsMs[name];
    return ms <= 0 ? neverMs : Math.min(ms, neverMs);
  }

  ofCallMs(method: BoundedMethod): number {
    return this.ms(nameOfMethod[method]);
  }
}
