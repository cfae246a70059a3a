/**
 * CreateContainer: a container's file system, spec and record. Its status file comes last: one without it was never
 * told of and goes when the daemon starts again.
 *
 * Differs from containerd: mounts of images are refused for now.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { clone } from '@bufbuild/protobuf';
import { type Context, forCleanup, type NamespacedContext, withLease } from '../../base/context.ts';
import { failedPrecondition, invalidArgument, notFound, unimplemented } from '../../base/errors.ts';
import { parseContainerId, parseLeaseId, parseSnapshotKey } from '../../base/identifiers.ts';
import { now } from '../../base/time.ts';
import type { ImageRunConfig } from '../../oci/image-config.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import { jsonTypeUrls, packJson } from '../../wire/any.ts';
import { NamespaceMode } from '../../wire/gen/runtime/v1/common_pb.js';
import {
  type ContainerConfig,
  ContainerConfigSchema,
  ContainerState,
} from '../../wire/gen/runtime/v1/container_pb.js';
import { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import type { CreateContainerRequest } from '../../wire/gen/runtime/v1/sandbox_pb.js';
import { inCri } from '../cri-context.ts';
import type { CriImage } from '../image-index.ts';
import { newId } from '../pods/id-index.ts';
import { type Pod, podName } from '../pods/pod.ts';
import { handlerOf } from '../pods/pod-run.ts';
import { announce } from '../pods/pod-status.ts';
import { rootFileOf } from '../pods/root-file.ts';
import { prepareRootfs, runnable } from '../pods/rootfs-image.ts';
import { type CriWorld, requirePod, specSettingsOf, undoMs, unlessAbsent } from '../pods/world.ts';
import { readCdiDirectories } from '../spec/cdi-registry.ts';
import { type ContainerSpec, containerSpec } from '../spec/container-spec.ts';
import { hostReads, listDirectory } from '../spec/host-reads.ts';
import type { PodNamespaces } from '../spec/namespaces.ts';
import {
  type ContainerRecord,
  type CriContainer,
  containerExtension,
  containerName,
  containerRecordToAny,
  stateOf,
} from './container.ts';
import { stopSignalOf } from './stop-signal.ts';

const cdiDirectories = ['/etc/cdi', '/var/run/cdi'];

/** Errors: NotFound (pod, image), FailedPrecondition (pod not ready), InvalidArgument, AlreadyExists (name). */
export async function createContainer(
  world: CriWorld,
  context: Context,
  { podSandboxId, config }: CreateContainerRequest,
): Promise<string> {
  if (config?.metadata === undefined) throw invalidArgument('container config must include metadata');
  if (config.metadata.name === '') throw invalidArgument('the metadata of a container must name it');
  if (config.mounts.some(({ image }) => (image?.image ?? '') !== ''))
    throw unimplemented('mounts of images are not there yet');
  const pod = requirePod(world, podSandboxId);
  if (!pod.ready) throw failedPrecondition(`sandbox container ${JSON.stringify(pod.id)} is not running`);
  const ctx = withLease(inCri(context), parseLeaseId(pod.id));
  const id = newId();
  world.containerNames.reserve(containerName(config, podName(pod.record.config)), id);
  try {
    const container = await make(world, ctx, { id, pod, config });
    world.containers.add(container);
  } catch (error) {
    world.containerNames.release(id);
    throw error;
  }
  announce(world, ContainerEventType.CONTAINER_CREATED_EVENT, { podId: pod.id, containerId: id });
  return id;
}

interface Making {
  readonly id: string;
  readonly pod: Pod;
  readonly config: ContainerConfig;
}

async function make(world: CriWorld, ctx: NamespacedContext, making: Making): Promise<CriContainer> {
  const { id, pod, config } = making;
  const containerId = parseContainerId(id);
  const cleanup = (): NamespacedContext => forCleanup(ctx, undoMs);
  const handler = handlerOf(world, pod.record.handler);
  const snapshotter = world.snapshotterOf(pod.record.handler);
  const image = await imageOf(world, ctx, config);
  const parts = await runnable(world, ctx, image);
  const stopSignal = stopSignalOf(config.stopSignal, parts.config.stopSignal);
  await using undo = new AsyncDisposableStack();
  world.containerFiles.make(id);
  undo.defer(() => world.containerFiles.remove(id));
  const rootfs = await prepareRootfs(world, ctx, { id, image, snapshotter });
  undo.defer(async () => {
    await unlessAbsent(world.snapshotter(snapshotter).remove(cleanup(), parseSnapshotKey(id)));
  });
  const rootFile = rootFileOf(world, { mounts: rootfs, tempRoot: world.tempRoot });
  const made = await specOf(world, ctx, { ...making, rootFile, image: parts.config, handler });
  const record = recordOf(making, { image, stopSignal, user: made.user });
  await world.records.create(ctx, {
    id: containerId,
    labels: { ...parts.config.labels, ...config.labels, 'io.cri-containerd.kind': 'container' },
    image: record.imageName,
    runtime: { name: handler.type, options: handler.options },
    spec: packJson(jsonTypeUrls.spec, made.spec),
    snapshotter,
    snapshotKey: id,
    extensions: { [containerExtension]: containerRecordToAny(record) },
    sandbox: pod.id,
  });
  undo.defer(async () => unlessAbsent(world.records.delete(cleanup(), containerId)));
  const progress = { ...notStarted, createdAt: now() };
  world.containerFiles.save(id, progress);
  undo.move();
  return {
    id: containerId,
    record,
    progress,
    oomKilled: false,
    stopSignalled: false,
    ended: Promise.resolve(),
  };
}

const notStarted = {
  startedAt: 0n,
  finishedAt: 0n,
  pid: 0,
  exitCode: 0,
  reason: '',
  message: '',
} as const;

/** Errors: NotFound. */
async function imageOf(
  { images }: Pick<CriWorld, 'images'>,
  ctx: NamespacedContext,
  { image }: ContainerConfig,
): Promise<CriImage> {
  const text = image?.image ?? '';
  const found = await images.find(ctx, text);
  if (found === undefined) throw notFound('image', text);
  return found;
}

function recordOf(
  { id, pod, config }: Making,
  { image, stopSignal, user }: { image: CriImage; stopSignal: string; user: ContainerSpec['user'] },
): ContainerRecord {
  const logs = pod.record.config.logDirectory;
  return {
    id: parseContainerId(id),
    podId: pod.id,
    config: clone(ContainerConfigSchema, config),
    imageId: image.id,
    imageName: image.repoTags[0] ?? image.id,
    imageRef: image.repoDigests[0] ?? image.id,
    stopSignal,
    user,
    logPath: logs === '' || config.logPath === '' ? '' : join(logs, config.logPath),
  };
}

interface Specifying extends Making {
  readonly rootFile: ReturnType<typeof rootFileOf>;
  readonly image: ImageRunConfig;
  readonly handler: ReturnType<typeof handlerOf>;
}

async function specOf(
  world: CriWorld,
  ctx: NamespacedContext,
  { id, pod, config, rootFile, image, handler }: Specifying,
): Promise<ContainerSpec> {
  const settings = specSettingsOf(world.settings.pods, handler);
  const { linux } = config;
  const words = linux?.securityContext?.namespaceOptions;
  return containerSpec(
    {
      id,
      namespace: ctx.namespace,
      config,
      pod: {
        id: pod.id,
        config: pod.record.config,
        namespaces: namespacesOf(pod),
        files: world.podFiles.paths(pod.id, pod.record.config),
        selinuxLabel: pod.record.selinuxLabel,
      },
      image: { name: config.image?.userSpecifiedImage || (config.image?.image ?? ''), config: image },
      volumes: settings.ignoreImageDefinedVolumes ? [] : makeVolumes(world, id, image),
      imageVolumes: new Map(),
      ...(words?.pid === NamespaceMode.TARGET && targetOf(world, pod, words.targetId)),
    },
    {
      host: world.host,
      runtime: await world.runtimeFacts(ctx, handler),
      settings,
      reads: hostReads,
      rootFile,
      cdi: () => readCdiDirectories(cdiDirectories, { list: listDirectory, file: hostReads.file }),
    },
  );
}

function namespacesOf({ pid, record }: Pod): PodNamespaces {
  const of = (kind: string): string => `/proc/${pid}/ns/${kind}`;
  return {
    network: record.netns || of('net'),
    ipc: of('ipc'),
    uts: of('uts'),
    pid: of('pid'),
    user: of('user'),
  };
}

/** Nothing for one that does not run: the spec says so. */
function targetOf(world: CriWorld, pod: Pod, id: string): { targetPid?: string } {
  const target = world.containers.find(id);
  return target?.record.podId === pod.id && stateOf(target.progress) === ContainerState.CONTAINER_RUNNING
    ? { targetPid: `/proc/${target.progress.pid}/ns/pid` }
    : {};
}

/** Volumes that the image names: empty directories of the container's own. */
function makeVolumes(
  { containerFiles }: CriWorld,
  id: string,
  { volumes }: ImageRunConfig,
): { containerPath: string; hostPath: string }[] {
  return volumes.map((containerPath, index) => {
    const hostPath = join(containerFiles.of(id), 'volumes', String(index));
    withNodeErrors(() => mkdirSync(hostPath, { recursive: true, mode: 0o755 }));
    return { containerPath, hostPath };
  });
}
