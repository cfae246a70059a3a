/** The story of a container's creation: root filesystem, spec, runc, and the watch over its init. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { wrap } from '../../base/errors.ts';
import type { Mount } from '../../platform/mount.ts';
import { mountAll, unmountAll } from '../../platform/temp-mount.ts';
import { TaskCreateSchema } from '../../wire/gen/containerd/events/task_pb.js';
import type { Allowance } from '../bundle/clamp.ts';
import { readAndClampSpec } from '../bundle/spec.ts';
import type { IoPaths } from '../io/stdio.ts';
import { createWords, deleteWords, restoreWords } from '../runc/runc-arguments.ts';
import { ownCgroupOf } from './cgroup.ts';
import { Container, type ContainerDependencies, type ContainerIdentity } from './container.ts';
import { watchInit } from './container-exit.ts';
import { type Launched, type LaunchRequest, launch } from './launch.ts';
import type { CreateOptions } from './options.ts';
import { TaskProcess } from './task-process.ts';

export interface CreateContainer extends ContainerIdentity {
  readonly rootfs: readonly Mount[];
  readonly io: IoPaths;
  /** Directory of a CRIU dump to restore; "" for none. */
  readonly checkpoint: string;
  readonly options: CreateOptions;
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
  await using undo = new AsyncDisposableStack();
  const rootfs = join(request.bundle, 'rootfs');
  mountRootfs(deps, request.rootfs, rootfs);
  undo.defer(() => unmountAll(deps.platform, rootfs, { lazy: true }));

  const spec = readAndClampSpec(request.bundle, deps.allowance);
  deps.noteClamped(spec.notes, request.id);
  const init = new TaskProcess(request.id, request.io);
  const container = new Container(deps, request, { options: request.options, spec, init });

  if (request.checkpoint === '') {
    const launched = await launch(deps, launchOf(container, request));
    undo.defer(() => discard(container));
    follow(container, launched);
  } else {
    container.restore = async () => follow(container, await launch(deps, restoreOf(container, request)));
  }
  container.save();
  deps.events.publish(request.namespace, '/tasks/create', TaskCreateSchema, {
    containerId: request.id,
    bundle: request.bundle,
    rootfs: request.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
    io: { ...request.io },
    checkpoint: request.checkpoint,
    pid: init.pid,
  });
  undo.move();
  return container;
}

function mountRootfs(deps: CreateDependencies, mounts: readonly Mount[], rootfs: string): void {
  if (mounts.length === 0) return;
  mkdirSync(rootfs, { recursive: true, mode: 0o711 });
  try {
    mountAll(deps.platform, mounts, rootfs);
  } catch (error) {
    throw wrap('failed to mount rootfs component', error);
  }
}

function follow(container: Container, launched: Launched): void {
  const { log } = container.dependencies;
  container.init.pid = launched.pid;
  container.init.streams = launched.streams;
  try {
    container.cgroup = ownCgroupOf(launched.pid);
  } catch (error) {
    log.warn({ error, id: container.id }, 'the cgroup of the container cannot be found');
  }
  watchInit(container).catch((error: unknown) => {
    log.error({ error, id: container.id }, 'lost track of a container');
  });
}

/** Of a container whose creation failed after runc had made it. */
async function discard(container: Container): Promise<void> {
  await container.runc('OCI runtime delete failed', deleteWords(container.id, true));
  await container.init.closeStreams();
}

type Launching = Pick<LaunchRequest, 'directory' | 'pidFile' | 'io' | 'ioOwner' | 'owner'>;

const launching = (container: Container, request: CreateContainer): Launching => ({
  directory: request.bundle,
  pidFile: join(request.bundle, 'init.pid'),
  io: request.io,
  ioOwner: request.options.ioOwner,
  owner: { namespace: container.namespace, id: container.id },
});

const launchOf = (container: Container, request: CreateContainer): LaunchRequest => ({
  ...launching(container, request),
  doing: 'OCI runtime create failed',
  words: (consoleSocket) =>
    createWords({
      id: container.id,
      bundle: request.bundle,
      pidFile: join(request.bundle, 'init.pid'),
      consoleSocket,
      noPivotRoot: request.options.noPivotRoot,
      noNewKeyring: request.options.noNewKeyring,
    }),
});

const restoreOf = (container: Container, request: CreateContainer): LaunchRequest => ({
  ...launching(container, request),
  doing: 'OCI runtime restore failed',
  words: (consoleSocket) =>
    restoreWords({
      id: container.id,
      bundle: request.bundle,
      pidFile: join(request.bundle, 'init.pid'),
      consoleSocket,
      noPivotRoot: request.options.noPivotRoot,
      imagePath: request.checkpoint,
      workPath:
        request.options.criuWorkPath === ''
          ? join(request.bundle, 'criu-work')
          : request.options.criuWorkPath,
      openTcp: true,
      externalUnixSockets: true,
      terminal: true,
      fileLocks: true,
      emptyNamespaces: [],
      cgroupsMode: '',
    }),
});
