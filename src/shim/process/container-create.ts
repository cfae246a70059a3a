/** The story of a container's creation: root filesystem, spec, runc, and the watch over its init. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { SavedMount } from '../../oci/shim-state.ts';
import type { Mount } from '../../platform/mount.ts';
import { unmountAll } from '../../platform/temp-mount.ts';
import { TaskCreateSchema } from '../../wire/gen/containerd/events/task_pb.js';
import type { Allowance } from '../bundle/clamp.ts';
import { readAndClampSpec } from '../bundle/spec.ts';
import { forgetContainer } from '../bundle/state-file.ts';
import type { IoPaths } from '../io/stdio.ts';
import { createWords, restoreWords } from '../runc/runc-arguments.ts';
import { ownCgroupOf } from './cgroup.ts';
import { Container, type ContainerDependencies, type ContainerIdentity } from './container.ts';
import { holdExit, watchInit, watchOom } from './container-exit.ts';
import { type Launched, type LaunchRequest, launch } from './launch.ts';
import type { CreateOptions } from './options.ts';
import { TaskProcess } from './task-process.ts';

export interface CreateRequest extends ContainerIdentity {
  readonly rootfs: readonly Mount[];
  readonly io: IoPaths;
  /** Directory of a CRIU dump to restore; "" for none. */
  readonly checkpoint: string;
  readonly options: CreateOptions;
}

/** With its place in the directory of the shim, see ContainerMade. */
export interface CreateContainer extends CreateRequest {
  readonly heldIn: string;
  readonly letGo: () => void;
}

export interface CreateDependencies extends ContainerDependencies {
  readonly allowance: Allowance;
  /** Tells once for each kind of request that this machine cannot grant. */
  readonly noteClamped: (notes: readonly string[], id: string) => void;
}

/** Errors: as runc says; as openStdio; InvalidArgument for the spec. Leaves nothing behind on failure. */
export async function createContainer(
  deps: CreateDependencies,
  request: CreateContainer,
): Promise<Container> {
  const spec = readAndClampSpec(request.bundle, deps.allowance);
  deps.noteClamped(spec.notes, request.id);
  const init = new TaskProcess(request.id, request.io);
  const { options, checkpoint, heldIn, letGo } = request;
  const rootfs = request.rootfs.map(plainMount);
  const container = new Container(deps, request, { options, spec, init, rootfs, checkpoint, heldIn, letGo });
  // What a later shim finds there shall be of this create.
  rmSync(initPidFile(request.bundle), { force: true });
  init.step = 'creating';
  container.notes.save();

  await using undo = new AsyncDisposableStack();
  undo.defer(() => forgetContainer(request.bundle));
  await deps.rootfs.mount(request.rootfs, container.rootfs);
  undo.defer(() => unmountAll(deps.platform, request.bundle, { lazy: true }));
  if (checkpoint === '') {
    const launched = await launch(deps, launchOf(container));
    undo.defer(() => discard(container));
    await hold(container, launched);
  } else {
    setUpRestore(container);
  }
  init.step = 'created';
  container.notes.save();
  announceCreate(container);
  if (init.pid !== 0) follow(container);
  undo.move();
  return container;
}

/** The start of a container with a checkpoint restores it. */
export function setUpRestore(container: Container): void {
  container.restore = async () => {
    await hold(container, await launch(container.dependencies, restoreOf(container)));
    follow(container);
  };
}

export function announceCreate(container: Container): void {
  const { init, made } = container;
  container.announce(init, 'added', '/tasks/create', TaskCreateSchema, {
    containerId: container.id,
    bundle: container.bundle,
    rootfs: made.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
    io: { ...init.io },
    checkpoint: made.checkpoint,
    pid: init.pid,
  });
}

const plainMount = ({ type, source, target, options }: Mount): SavedMount => ({
  type,
  source,
  target,
  options: [...options],
});

async function hold(container: Container, launched: Launched): Promise<void> {
  const { init, dependencies } = container;
  const { processes } = dependencies.platform;
  init.pid = launched.pid;
  init.startTicks = processes.startTicks(launched.pid);
  init.streams = launched.streams;
  findCgroup(container);
  watchOom(container);
  await holdExit(container, init, processes.exited(init.pid));
}

/** Its end is told from now on. */
function follow(container: Container): void {
  const { log, platform } = container.dependencies;
  watchInit(container, platform.processes.exited(container.init.pid)).catch((error: unknown) => {
    log.error({ error, id: container.id }, 'lost track of a container');
  });
}

/** While its init lives. */
export function findCgroup(container: Container): void {
  try {
    container.cgroup = ownCgroupOf(container.init.pid);
  } catch (error) {
    const { log } = container.dependencies;
    log.warn({ error, id: container.id }, 'the cgroup of the container cannot be found');
  }
}

/** Of a container whose creation failed after runc had made it. */
async function discard(container: Container): Promise<void> {
  await container.dependencies.runc.delete(container.id, container.bundle, { force: true });
  await container.init.closeStreams();
}

export const initPidFile = (bundle: string): string => join(bundle, 'init.pid');

type Launching = Omit<LaunchRequest, 'doing' | 'words'>;

const launching = (container: Container): Launching => ({
  directory: container.bundle,
  pidFile: initPidFile(container.bundle),
  io: container.init.io,
  ioOwner: container.options.ioOwner,
  owner: { namespace: container.namespace, id: container.id },
  streamsIn: container.streamsOf(container.init),
  endsWithProcess: true,
  attachments: container.init.attachments,
});

const launchOf = (container: Container): LaunchRequest => ({
  ...launching(container),
  doing: 'OCI runtime create failed',
  words: (consoleSocket) =>
    createWords({
      id: container.id,
      bundle: container.bundle,
      pidFile: initPidFile(container.bundle),
      consoleSocket,
      noPivotRoot: container.options.noPivotRoot,
      noNewKeyring: container.options.noNewKeyring,
    }),
});

const restoreOf = (container: Container): LaunchRequest => ({
  ...launching(container),
  doing: 'OCI runtime restore failed',
  words: (consoleSocket) =>
    restoreWords({
      id: container.id,
      bundle: container.bundle,
      pidFile: initPidFile(container.bundle),
      consoleSocket,
      noPivotRoot: container.options.noPivotRoot,
      imagePath: container.made.checkpoint,
      workPath:
        container.options.criuWorkPath === ''
          ? join(container.bundle, 'criu-work')
          : container.options.criuWorkPath,
      openTcp: true,
      externalUnixSockets: true,
      terminal: true,
      fileLocks: true,
      emptyNamespaces: [],
      cgroupsMode: '',
    }),
});
