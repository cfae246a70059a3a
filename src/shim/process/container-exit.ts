/**
 * The end of processes, told in order: execs before init, each once, the terminal's last output before the exit.
 */
import { setTimeout as after } from 'node:timers/promises';
import type { ProcessExit } from '../../platform/platform.ts';
import { TaskExitSchema, TaskOOMSchema } from '../../wire/gen/containerd/events/task_pb.js';
import { timestampOf } from '../../wire/timestamps.ts';
import { oomFile, oomKills } from './cgroup.ts';
import type { Container } from './container.ts';
import type { TaskProcess } from './task-process.ts';

/** A client that does not read its terminal holds the news up no longer than this; the output still follows. */
const drainMs = 500;
/** The kernel ends execs together with init; one that hangs in it must not keep the news from everybody. */
const execsMs = 10_000;

/** Follows init to its end. Never rejects. */
export async function watchInit(container: Container): Promise<void> {
  const { init } = container;
  const exit = await container.dependencies.platform.processes.exited(init.pid);
  await init.starting;
  init.markExited(exit);
  container.paused = false;
  if (!container.spec.ownPidNamespace) await container.killRest();
  await execsEnded(container);
  await init.drained(drainMs);
  announce(container, init, exit);
}

/** Follows an exec to its end. Never rejects. */
export async function watchExec(container: Container, exec: TaskProcess): Promise<void> {
  const exit = await container.dependencies.platform.processes.exited(exec.pid);
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
  const timer = new AbortController();
  await Promise.race([
    Promise.all(running),
    after(execsMs, undefined, { signal: timer.signal }).catch(() => {}),
  ]);
  timer.abort();
}

const oomSeen = new WeakMap<Container, number>();

function announce(container: Container, process: TaskProcess, exit: ProcessExit): void {
  const { events, log } = container.dependencies;
  announceOom(container);
  try {
    container.save();
  } catch (error) {
    log.warn({ error, id: container.id }, 'could not note the exit in the bundle');
  }
  events.publish(container.namespace, '/tasks/exit', TaskExitSchema, {
    containerId: container.id,
    id: process.id,
    pid: exit.pid,
    exitStatus: exit.status,
    exitedAt: timestampOf(exit.exitedAt),
  });
  process.ended.resolve({ pid: exit.pid, status: exit.status, exitedAt: exit.exitedAt });
}

function announceOom(container: Container): void {
  const file = container.cgroup === undefined ? undefined : oomFile(container.cgroup);
  if (file === undefined) return;
  const kills = oomKills(file);
  if (kills <= (oomSeen.get(container) ?? 0)) return;
  oomSeen.set(container, kills);
  container.dependencies.events.publish(container.namespace, '/tasks/oom', TaskOOMSchema, {
    containerId: container.id,
  });
}
