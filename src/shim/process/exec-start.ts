/** The story of an exec: registered with its process spec, then started by runc in the container. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import { TaskExecAddedSchema, TaskExecStartedSchema } from '../../wire/gen/containerd/events/task_pb.js';
import { type Allowance, type ClampedProcess, clampProcess } from '../bundle/clamp.ts';
import { parseExact } from '../bundle/json-numbers.ts';
import type { IoPaths } from '../io/stdio.ts';
import { execWords } from '../runc/runc-arguments.ts';
import type { Container } from './container.ts';
import { holdExit, watchExec } from './container-exit.ts';
import { type Launched, launch } from './launch.ts';
import { TaskProcess } from './task-process.ts';
import { wrongExecState, wrongProcessState } from './wrong-state.ts';

export interface AddExec {
  readonly execId: string;
  /** A runtime spec's process, as JSON text. */
  readonly spec: Uint8Array;
  readonly io: IoPaths;
}

export const specFile = (container: Container, execId: string): string =>
  join(container.bundle, `exec-${execId}.json`);

export const execPidFile = (container: Container, execId: string): string =>
  join(container.bundle, `exec-${execId}.pid`);

/** Errors: AlreadyExists, Unknown when nothing can run in it, InvalidArgument for the spec. Returns notes of what was clamped. */
export function addExec(container: Container, request: AddExec, allowance: Allowance): string[] {
  const spec = parseSpec(request.spec);
  spec.terminal = request.io.terminal;
  const notes = clampProcess(spec, allowance);
  const exec = new TaskProcess(request.execId, request.io);
  container.addExec(exec);
  try {
    writeFileSync(specFile(container, request.execId), JSON.stringify(spec), { mode: 0o600 });
    container.notes.save();
  } catch (error) {
    container.execs.delete(request.execId);
    throw error;
  }
  announceAdded(container, exec);
  return notes;
}

export function announceAdded(container: Container, exec: TaskProcess): void {
  container.announce(exec, 'added', '/tasks/exec-added', TaskExecAddedSchema, {
    containerId: container.id,
    execId: exec.id,
  });
}

export function announceStarted(container: Container, exec: TaskProcess): void {
  container.announce(exec, 'started', '/tasks/exec-started', TaskExecStartedSchema, {
    containerId: container.id,
    execId: exec.id,
    pid: exec.pid,
  });
}

function parseSpec(bytes: Uint8Array): ClampedProcess & { terminal?: boolean } {
  try {
    const spec = parseExact(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof spec === 'object' && spec !== null) return spec;
  } catch (error) {
    throw invalidArgument(`the process spec cannot be read: ${(error as Error).message}`, error);
  }
  throw invalidArgument('the process spec is no JSON object');
}

/** Errors: NotFound; Unknown when it or the container is not in the right phase; as runc says. */
export async function startExec(container: Container, execId: string): Promise<number> {
  const exec = container.process(execId);
  if (exec.phase !== 'created') throw wrongProcessState('start', exec.phase);
  const { phase, init } = container;
  if (phase === 'paused' || phase === 'stopped' || init.pid === 0) throw wrongExecState(phase);
  await exec.startOnce(async () => {
    // What a later shim finds there shall be of this start.
    rmSync(execPidFile(container, execId), { force: true });
    exec.step = 'starting';
    container.notes.save();
    const { processes } = container.dependencies.platform;
    const launched = await launchOrFail(container, exec, execId);
    exec.pid = launched.pid;
    exec.startTicks = processes.startTicks(launched.pid);
    exec.streams = launched.streams;
    const exited = processes.exited(exec.pid);
    watchExec(container, exec, exited).catch((error: unknown) => {
      container.dependencies.log.error({ error, id: container.id, execId }, 'lost track of a process');
    });
    await holdExit(container, exec, exited);
    exec.step = 'running';
    container.notes.trySave();
    rmSync(execPidFile(container, execId), { force: true });
    announceStarted(container, exec);
  });
  return exec.pid;
}

async function launchOrFail(container: Container, exec: TaskProcess, execId: string): Promise<Launched> {
  const pidFile = execPidFile(container, execId);
  try {
    return await launch(container.dependencies, {
      doing: 'OCI runtime exec failed',
      directory: container.bundle,
      pidFile,
      io: exec.io,
      ioOwner: container.options.ioOwner,
      owner: { namespace: container.namespace, id: container.id },
      streamsIn: container.streamsOf(exec),
      endsWithProcess: false,
      attachments: exec.attachments,
      words: (consoleSocket) =>
        execWords({ id: container.id, processFile: specFile(container, execId), pidFile, consoleSocket }),
    });
  } catch (error) {
    exec.markFailed();
    container.notes.saveSoon();
    rmSync(pidFile, { force: true });
    throw error;
  } finally {
    rmSync(specFile(container, execId), { force: true });
  }
}
