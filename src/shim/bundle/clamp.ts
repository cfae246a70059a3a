/**
 * Fits a process's OOM score and rlimits to what this machine lets us set.
 *
 * Without CAP_SYS_RESOURCE (inside many containers and VMs) runc fails to create a container that asks for a lower OOM
 * score or a higher hard limit than its own. containerd passes that failure on; we run the container with what can be
 * had and say so.
 */
import { readFileSync } from 'node:fs';
import { exactInteger, rawInteger } from './json-numbers.ts';

export interface Allowance {
  /** Hard limits that cannot be raised, by name (RLIMIT_NOFILE). Empty where everything may be set. */
  readonly hardLimits: ReadonlyMap<string, bigint>;
  /** The score that results when `wanted` is asked for. */
  oomScoreAdjust(wanted: number): number;
}

/** RLIM_INFINITY as the runtime spec writes it. */
const unlimited = 2n ** 64n - 1n;

const limitNames: Readonly<Record<string, string>> = {
  'Max cpu time': 'RLIMIT_CPU',
  'Max file size': 'RLIMIT_FSIZE',
  'Max data size': 'RLIMIT_DATA',
  'Max stack size': 'RLIMIT_STACK',
  'Max core file size': 'RLIMIT_CORE',
  'Max resident set': 'RLIMIT_RSS',
  'Max processes': 'RLIMIT_NPROC',
  'Max open files': 'RLIMIT_NOFILE',
  'Max locked memory': 'RLIMIT_MEMLOCK',
  'Max address space': 'RLIMIT_AS',
  'Max file locks': 'RLIMIT_LOCKS',
  'Max pending signals': 'RLIMIT_SIGPENDING',
  'Max msgqueue size': 'RLIMIT_MSGQUEUE',
  'Max nice priority': 'RLIMIT_NICE',
  'Max realtime priority': 'RLIMIT_RTPRIO',
  'Max realtime timeout': 'RLIMIT_RTTIME',
};

/** Hard limits of /proc/PID/limits (proc(5)), unlimited ones left out. */
export function parseHardLimits(text: string): ReadonlyMap<string, bigint> {
  const hard = new Map<string, bigint>();
  for (const line of text.split('\n')) {
    const match = /^(Max [a-z ]+?)\s{2,}\S+\s+(\d+)(?:\s|$)/.exec(line);
    const name = match === null ? undefined : limitNames[match[1] as string];
    if (name !== undefined) hard.set(name, BigInt(match?.[2] as string));
  }
  return hard;
}

const capSysResource = 24n;

/** Whether the capability mask of a /proc/PID/status text has CAP_SYS_RESOURCE. */
export function mayRaiseLimits(status: string): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> capSysResource) & 1n) === 1n;
}

export interface OomScores {
  setOomScoreAdjust(pid: number, score: number): number;
}

/** What this process, and so the runc it spawns, may set. */
export function ownAllowance(scores: OomScores): Allowance {
  if (mayRaiseLimits(readFileSync('/proc/self/status', 'utf8')))
    return { hardLimits: new Map(), oomScoreAdjust: (wanted) => wanted };
  return {
    hardLimits: parseHardLimits(readFileSync('/proc/self/limits', 'utf8')),
    // The kernel does not tell the lowest score it allows: try it on ourselves and go back.
    oomScoreAdjust: (wanted) => {
      const before = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
      try {
        return scores.setOomScoreAdjust(process.pid, wanted);
      } finally {
        scores.setOomScoreAdjust(process.pid, before);
      }
    },
  };
}

/** The process part of a runtime spec; only what is looked at here. */
export interface ClampedProcess {
  oomScoreAdj?: unknown;
  rlimits?: unknown;
}

/** Changes `process` in place; returns what was changed, for people, and nothing when it fits. */
export function clampProcess(process: ClampedProcess, allowance: Allowance): string[] {
  return [...clampOomScore(process, allowance), ...clampLimits(process.rlimits, allowance.hardLimits)];
}

function clampOomScore(process: ClampedProcess, allowance: Allowance): string[] {
  const wanted = process.oomScoreAdj;
  if (typeof wanted !== 'number') return [];
  const possible = allowance.oomScoreAdjust(wanted);
  if (possible === wanted) return [];
  process.oomScoreAdj = possible;
  return [`oomScoreAdj ${wanted} -> ${possible}`];
}

function clampLimits(rlimits: unknown, hardLimits: ReadonlyMap<string, bigint>): string[] {
  if (!Array.isArray(rlimits) || hardLimits.size === 0) return [];
  const notes: string[] = [];
  for (const entry of rlimits as { type?: unknown; hard?: unknown; soft?: unknown }[]) {
    const ours = typeof entry?.type === 'string' ? hardLimits.get(entry.type) : undefined;
    const hard = exactInteger(entry?.hard);
    if (ours === undefined || hard === undefined || hard <= ours) continue;
    entry.hard = rawInteger(ours);
    const soft = exactInteger(entry.soft);
    if (soft !== undefined && soft > ours) entry.soft = rawInteger(ours);
    notes.push(`${String(entry.type)} ${hard === unlimited ? 'unlimited' : hard} -> ${ours}`);
  }
  return notes;
}
