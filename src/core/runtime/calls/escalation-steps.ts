/** The steps of an escalation and which calls they are for; escalation.ts takes them. */
import { hasCode } from '../../../base/errors.ts';
import { killCgroupOf } from '../../../platform/cgroups/cgroup-kill.ts';
import type { Platform } from '../../../platform/platform.ts';
import { isStill, signalIdentified } from '../../../platform/process-identity.ts';
import { SIGKILL } from '../../../platform/signals.ts';
import type { ShimConnection } from '../shims/shim-connection.ts';
import type { Task } from '../tasks/task.ts';
import type { DeadlineName } from './deadlines.ts';
import type { OutstandingCall } from './outstanding-calls.ts';

export interface Situation {
  readonly call: OutstandingCall;
  readonly task: Task;
  readonly signal?: number | undefined;
  /** The shim answered the ping. */
  readonly answers: boolean;
  /** On which the call went out. */
  readonly connection: ShimConnection | undefined;
  readonly platform: Platform;
}

export interface Step {
  readonly name: string;
  /** The answer is waited for as long as this afterwards, where that is longer than a step's own time. */
  readonly wait?: DeadlineName;
  /** What it found or did, in words; undefined when there was nothing to do. */
  readonly take: (situation: Situation) => string | undefined | Promise<string | undefined>;
}

/** runc's words for the calls that run it. */
const runtimeWords: Readonly<Record<string, readonly string[]>> = {
  create: ['create', 'restore'],
  start: ['start', 'exec', 'restore'],
  kill: ['kill'],
  delete: ['delete', 'kill'],
  pause: ['pause'],
  resume: ['resume'],
  update: ['update'],
  checkpoint: ['checkpoint'],
};

const runtimeKill: Step = {
  name: 'runtime-kill',
  take: async ({ call, task, platform }) => {
    const shim = await task.link.process();
    if (shim === undefined || !isStill(platform.processes, shim)) return undefined;
    const { processes } = platform;
    const hung = processes
      .children(shim.pid)
      .filter((pid) => isRuntimeOf(call, task, processes.arguments(pid)));
    for (const pid of hung) kill(platform, processes.isGroupLeader(pid) ? -pid : pid);
    return hung.length === 0 ? undefined : `killed the runtime process ${hung.join(', ')}`;
  },
};

/** runc's log goes into the bundle, so that its path is among the words. */
function isRuntimeOf(call: OutstandingCall, { bundle }: Task, words: readonly string[]): boolean {
  const subcommands = runtimeWords[call.call] ?? [];
  const { execId } = call.target;
  return (
    words.some((word) => word.startsWith(`${bundle.path}/`)) &&
    words.some((word) => subcommands.includes(word)) &&
    (execId === '' || words.some((word) => word.includes(execId)))
  );
}

const signalProcess: Step = {
  name: 'signal',
  take: ({ call, task, signal = SIGKILL, platform }) => {
    const target = task.processes.get(call.target.execId);
    return target !== undefined && signalIdentified(platform.processes, target, signal)
      ? `sent signal ${signal} to process ${target.pid}`
      : undefined;
  },
};

const killCgroup: Step = {
  name: 'cgroup-kill',
  take: ({ task, platform }) => {
    const init = task.processes.get('');
    if (init === undefined || !isStill(platform.processes, init)) return undefined;
    try {
      return `killed the cgroup with its ${killCgroupOf(platform.processes, init.pid)} processes`;
    } catch (error) {
      if (hasCode(error, 'NotFound')) return undefined;
      throw error;
    }
  },
};

const shimKill: Step = {
  name: 'shim-kill',
  wait: 'shim.start',
  take: killShim,
};

const unmount: Step = {
  name: 'unmount',
  take: ({ task, platform }) => {
    platform.mounts.unmountAll(task.bundle.path, { lazy: true });
    return 'unmounted what was in the bundle';
  },
};

/** A new shim takes over what a shim of ours holds; of a foreign one its containers are cleaned up. */
export async function killShim({
  connection,
  task,
}: Pick<Situation, 'connection' | 'task'>): Promise<string | undefined> {
  if (connection === undefined || !(await task.link.kill(connection))) return undefined;
  return task.link.isGantry ? 'killed the shim; another takes over' : 'killed the shim';
}

/** Whoever asked for this wants the process ended, whatever it takes. */
function isFatal({ call, signal }: Situation): boolean {
  return call.call === 'delete' || call.call === 'exit' || (call.call === 'kill' && signal === SIGKILL);
}

export function stepsFor(situation: Situation): Step[] {
  const { call, task, answers } = situation;
  const ofInit = call.target.execId === '';
  const fatal = isFatal(situation);
  const ending = [
    ...(fatal || call.call === 'kill' ? [signalProcess] : []),
    ...(fatal && ofInit ? [killCgroup] : []),
  ];
  const last = fatal && ofInit ? [unmount] : [];
  if (!task.link.isGantry)
    return [
      ...(answers ? [runtimeKill] : []),
      ...ending,
      ...(call.call === 'delete' ? [shimKill] : []),
      ...last,
    ];
  // A shim that says nothing is replaced first: the next one may do all that was asked without harm to anybody.
  return answers ? [runtimeKill, ...ending, shimKill, ...last] : [shimKill, ...ending, ...last];
}

function kill({ processes }: Platform, pid: number): void {
  try {
    processes.kill(pid, SIGKILL);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw error;
  }
}
