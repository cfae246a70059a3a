/**
 * The story of one container that a shim before this one held: what was in flight is waited for, what is known is taken
 * over, and what was not told is told. Steps whose caller was never answered are either found to be done or undone, so
 * that the caller's second try finds a clear state.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { SavedContainer, SavedPhase, SavedProcess } from '../../oci/shim-state.ts';
import { isFrozen } from '../../platform/cgroups/cgroup-processes.ts';
import type { ProcessExit } from '../../platform/platform.ts';
import { unmountAll } from '../../platform/temp-mount.ts';
import { readSpec } from '../bundle/spec.ts';
import { forgetContainer, loadContainer } from '../bundle/state-file.ts';
import type { Held } from '../held-directory.ts';
import { cgroupFromSaved } from '../process/cgroup.ts';
import { Container, type ContainerDependencies } from '../process/container.ts';
import { announceCreate, findCgroup, initPidFile, setUpRestore } from '../process/container-create.ts';
import { announceExit, watchExec, watchInit, watchOom } from '../process/container-exit.ts';
import { announceAdded, announceStarted, execPidFile, specFile } from '../process/exec-start.ts';
import { readPidFile } from '../process/launch.ts';
import { TaskProcess } from '../process/task-process.ts';
import { execFifo } from '../runc/exec-fifo.ts';
import { adoptProcess } from './adopt-process.ts';
import { callsEnded, removeLogs } from './calls-in-flight.ts';

export interface Left extends Held {
  /** The directory in which it is held. */
  readonly heldIn: string;
  /** runc processes that are still at work for it. */
  readonly calls: readonly number[];
  readonly isPinned: (path: string) => boolean;
  readonly letGo: () => void;
}

export type DependenciesOf = (saved: SavedContainer) => ContainerDependencies;

/** Undefined when nothing is left to hold. Errors: as runc says. */
export async function adoptContainer(
  dependenciesOf: DependenciesOf,
  left: Left,
): Promise<Container | undefined> {
  const saved = loadContainer(left.bundle);
  if (saved?.namespace !== left.namespace || saved.id !== left.id || saved.heldIn !== left.heldIn) {
    // Its create did not come to its first step, or its delete to its last, and another may have the bundle by now.
    left.letGo();
    return undefined;
  }
  const deps = dependenciesOf(saved);
  const { processes } = deps.platform;
  const ended = await callsEnded({ processes, log: deps.log }, left.calls);
  removeLogs(left.bundle);
  const container = makeContainer(deps, left, saved);
  if (saved.init.phase === 'deleted') {
    tellFarewell(container, saved);
    return undefined;
  }
  if (!(await settleInit(container, saved))) {
    await undoCreate(container, left);
    return undefined;
  }
  if (saved.checkpoint !== '' && container.init.step === 'created') setUpRestore(container);
  for (const exec of saved.execs) settleExec(container, exec, ended);
  await takeOver(container, saved, left);
  return container;
}

function makeContainer(deps: ContainerDependencies, left: Left, saved: SavedContainer): Container {
  const container = new Container(deps, left, {
    options: saved.options,
    spec: factsOf(left.bundle),
    init: TaskProcess.adopt(saved.init),
    rootfs: saved.rootfs,
    checkpoint: saved.checkpoint,
    heldIn: left.heldIn,
    letGo: left.letGo,
  });
  container.cgroup = cgroupFromSaved(saved.cgroup);
  container.paused = saved.paused;
  container.oomKillsTold = saved.oomKills;
  return container;
}

/** Without a spec that can be read the rest is killed after init, which is never wrong. */
function factsOf(bundle: string): { ownPidNamespace: boolean } {
  try {
    return readSpec(bundle);
  } catch {
    return { ownPidNamespace: false };
  }
}

/** Finds out what became of a create or start in flight. False when there is no container. */
async function settleInit(container: Container, saved: SavedContainer): Promise<boolean> {
  const { init } = container;
  const { processes } = container.dependencies.platform;
  const launched = saved.init.phase === 'creating' || (saved.init.phase === 'starting' && init.pid === 0);
  if (launched) {
    const pid = readPidFile(initPidFile(container.bundle));
    if (pid === undefined) return saved.init.phase === 'starting' ? await undoRestore(container) : false;
    init.pid = pid;
    init.startTicks = processes.startTicks(pid);
    init.step = saved.checkpoint === '' ? 'created' : 'running';
  } else if (saved.init.phase === 'starting') {
    init.step = await startedOrNot(container);
  }
  if (container.cgroup === undefined && init.pid !== 0 && processes.isAlive(init.pid)) findCgroup(container);
  return true;
}

async function startedOrNot({ id, dependencies }: Container): Promise<SavedPhase> {
  const { runc, log } = dependencies;
  try {
    const status = await runc.status(id, AbortSignal.timeout(limits.taskStateMs));
    if (status === 'created') return 'created';
    // A start that was killed at its last step leaves it, and runc goes by it.
    rmSync(execFifo(join(runc.setup.root, id)), { force: true });
    // One that has ended was started: before its start only a kill could have ended it.
    return 'running';
  } catch (error) {
    log.warn({ error, id }, 'runc does not say whether a container was started; its own files do');
    // Init waits on it for its start, which removes it (runc and crun alike).
    return existsSync(execFifo(join(runc.setup.root, id))) ? 'created' : 'running';
  }
}

async function undoRestore(container: Container): Promise<true> {
  await deleteByForce(container);
  container.init.step = 'created';
  return true;
}

async function undoCreate(container: Container, left: Left): Promise<void> {
  const { log, platform } = container.dependencies;
  await deleteByForce(container);
  unmountAll(platform, left.bundle, { lazy: true });
  forgetContainer(left.bundle);
  left.letGo();
  log.info({ id: left.id }, 'undid a create that a shim before this one did not finish');
}

async function deleteByForce(container: Container): Promise<void> {
  try {
    await container.dependencies.runc.delete(container.id, container.bundle, { force: true });
  } catch (error) {
    if (!hasCode(error, 'NotFound')) throw error;
  }
}

/** Finds out what became of an exec in flight; `hadTime` when its runc ended by itself. */
function settleExec(container: Container, saved: SavedProcess, hadTime: boolean): void {
  const exec = TaskProcess.adopt(saved);
  if (saved.phase === 'starting') {
    const pid = readPidFile(execPidFile(container, saved.id));
    if (pid !== undefined) {
      exec.pid = pid;
      exec.startTicks = container.dependencies.platform.processes.startTicks(pid);
      exec.step = 'running';
    } else if (hadTime && existsSync(specFile(container, saved.id))) {
      // Nothing was started: it may be tried again.
      exec.step = 'created';
    } else {
      exec.step = 'stopped';
    }
  }
  if (saved.phase !== 'deleted') container.execs.set(exec.id, exec);
  else if (exec.exit !== undefined && exec.announced !== 'exited') announceExit(container, exec, exec.exit);
}

/** Tells what was not told, then watches; ends when what is over is known to be. */
async function takeOver(container: Container, saved: SavedContainer, left: Left): Promise<void> {
  const { init, dependencies } = container;
  // A deleted exec may have a successor of its name.
  const execs = saved.execs.filter(({ phase }) => phase !== 'deleted');
  const savedOf = new Map(execs.map((exec) => [exec.id, exec]));
  tellBegin(container);
  const over: Promise<unknown>[] = [];
  const watch = (
    process: TaskProcess,
    follow: (exited: Promise<ProcessExit>) => Promise<void>,
    begun: SavedProcess,
  ): void => {
    if (process.step === 'running') process.markRunning();
    if (process.step === 'created' && process.pid === 0) return;
    if (process.step === 'stopped' && (process.pid === 0 || process.announced === 'exited')) {
      finish(process);
      return;
    }
    const { exited, isOver } =
      process.exit === undefined
        ? adoptProcess(container, process, begun, left.isPinned)
        : { exited: Promise.resolve(process.exit), isOver: true };
    if (isOver) over.push(exited);
    follow(exited).catch((error: unknown) => {
      dependencies.log.error({ error, id: container.id }, 'lost track of a process');
    });
  };
  // The map's order is the exits': execs before init.
  for (const exec of container.execs.values())
    watch(exec, (exited) => watchExec(container, exec, exited), savedOf.get(exec.id) as SavedProcess);
  watch(init, (exited) => watchInit(container, exited), saved.init);
  container.notes.trySave();
  if (init.phase !== 'stopped') watchOom(container);
  tellPaused(container);
  await Promise.all(over);
}

/** An end that everybody knows of. */
function finish(process: TaskProcess): void {
  const { exit } = process;
  if (exit === undefined) {
    process.markFailed();
    return;
  }
  process.markExited(exit);
  process.ended.resolve({ pid: exit.pid, status: exit.status, exitedAt: exit.exitedAt });
}

const owesStart = ({ wasStarted, announced }: TaskProcess): boolean =>
  wasStarted && (announced === 'nothing' || announced === 'added');

function tellBegin(container: Container): void {
  const { init, execs } = container;
  if (init.announced === 'nothing') announceCreate(container);
  if (owesStart(init)) container.announceStart();
  for (const exec of execs.values()) {
    if (exec.announced === 'nothing') announceAdded(container, exec);
    if (owesStart(exec)) announceStarted(container, exec);
  }
}

/** A pause or resume in flight has been done by now, or not. */
function tellPaused(container: Container): void {
  if (container.init.phase !== 'running' || container.cgroup === undefined) return;
  const paused = isFrozen(container.cgroup);
  if (paused !== container.paused) container.markPaused(paused);
}

/** Deleted, and perhaps not all of it told. */
function tellFarewell(container: Container, saved: SavedContainer): void {
  const { init } = container;
  for (const exec of saved.execs) settleExec(container, exec, true);
  if (init.exit !== undefined && init.announced !== 'exited') announceExit(container, init, init.exit);
  container.announceDelete({
    pid: init.exit?.pid ?? 0,
    status: init.exit?.status ?? 0,
    exitedAt: init.exit?.exitedAt,
  });
}
