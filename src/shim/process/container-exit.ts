/**
 * The end of processes, told in order: execs before init, each once, the terminal's last output before the exit.
 */
import { raceTime } from '../../base/bounded-wait.ts';
import { OomWatch } from '../../platform/cgroups/oom-watch.ts';
import type { ProcessExit } from '../../platform/platform.ts';
import { TaskExitSchema, TaskOOMSchema } from '../../wire/gen/containerd/events/task_pb.js';
import { timestampOf } from '../../wire/timestamps.ts';
import type { Container } from './container.ts';
import type { TaskProcess } from './task-process.ts';

/** A client that does not read its terminal holds the news up no longer than this; the output still follows. */
const drainMs = 500;
/** The kernel ends execs together with init; one that hangs in it must not keep the news from everybody. */
const execsMs = 10_000;

/** An exit is known at once when there is nothing to pin any more; should it not be, a start is not held up by it. */
const goneMs = 1_000;

/**
 * Sees to it that the exit of a process that was just made will be known to a later shim: its pidfd is pinned, or it has
 * ended already, and the next save has its exit. To be called before its start is answered.
 */
export async function holdExit(
  container: Container,
  process: TaskProcess,
  exited: Promise<ProcessExit>,
): Promise<void> {
  const { processes } = container.dependencies.platform;
  const isPinned = container.notes.pin(process.pid, container.pinOf(process));
  if (isPinned || processes.isAlive(process.pid)) return;
  const exit = await raceTime(exited, goneMs);
  if (exit !== undefined) process.foresee(exit.value);
}

/** Follows init to its end. */
export async function watchInit(container: Container, exited: Promise<ProcessExit>): Promise<void> {
  const { init } = container;
  const exit = await exited;
  await init.starting;
  init.markExited(exit);
  container.paused = false;
  if (!container.made.spec.ownPidNamespace) await container.killRest();
  await execsEnded(container);
  await init.drained(drainMs);
  announce(container, init, exit);
}

/** Follows an exec to its end. */
export async function watchExec(
  container: Container,
  exec: TaskProcess,
  exited: Promise<ProcessExit>,
): Promise<void> {
  const exit = await exited;
  await exec.starting;
  exec.markExited(exit);
  await exec.drained(drainMs);
  announce(container, exec, exit);
}

async function execsEnded(container: Container): Promise<void> {
  const execs = [...container.execs.values()];
  await Promise.all(execs.map((exec) => exec.starting));
  const running = execs.filter((exec) => exec.pid !== 0).map((exec) => exec.ended.promise);
  if (running.length === 0) return;
  await raceTime(Promise.all(running), execsMs);
}

/** Saved before it is published: a later shim repeats what the daemon did not take, with the same status and time. */
function announce(container: Container, process: TaskProcess, exit: ProcessExit): void {
  if (container.oom?.drain() === true) announceOom(container);
  container.notes.trySave();
  announceExit(container, process, exit);
  process.ended.resolve({ pid: exit.pid, status: exit.status, exitedAt: exit.exitedAt });
  // Those who wait need not wait for this.
  setImmediate(() => container.notes.unpin(container.pinOf(process)));
}

export function announceExit(container: Container, process: TaskProcess, exit: ProcessExit): void {
  container.announce(process, 'exited', '/tasks/exit', TaskExitSchema, {
    containerId: container.id,
    id: process.id,
    pid: exit.pid,
    exitStatus: exit.status,
    exitedAt: timestampOf(exit.exitedAt),
  });
}

/** Tells of kills for want of memory when they happen, but for those that a shim before us told. */
export function watchOom(container: Container): void {
  const { platform, log } = container.dependencies;
  const { cgroup, id } = container;
  if (cgroup === undefined) return;
  const onOom = (): void => announceOom(container);
  container.oom = new OomWatch(
    { cgroups: platform.cgroups, cgroup, onOom },
    { seen: container.oomKillsTold },
  );
  try {
    container.oom.listen();
  } catch (error) {
    log.warn({ error, id }, 'kills for want of memory are told only when a process ends');
  }
}

function announceOom(container: Container): void {
  const { events } = container.dependencies;
  const kills = container.oom?.seen ?? 0;
  events.publish(container.namespace, '/tasks/oom', TaskOOMSchema, { containerId: container.id }, () => {
    container.oomKillsTold = kills;
    container.notes.trySave();
  });
}
