/**
 * RunPodSandbox: the story of a pod. Its record comes first, so that whatever a crash leaves is found and taken away;
 * the caller hears of the pod when all of it is there.
 *
 * Differs from containerd: user namespaces are refused for now.
 */
import { clone } from '@bufbuild/protobuf';
import { type Context, forCleanup, type NamespacedContext, withLease } from '../../base/context.ts';
import { failedPrecondition, invalidArgument, notFound, unimplemented, wrap } from '../../base/errors.ts';
import { parseContainerId, parseLeaseId, parseSandboxId, parseSnapshotKey } from '../../base/identifiers.ts';
import { now } from '../../base/time.ts';
import type { RuntimeSpec } from '../../oci/runtime-spec.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { jsonTypeUrls, packJson } from '../../wire/any.ts';
import { NamespaceMode } from '../../wire/gen/runtime/v1/common_pb.js';
import { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import {
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  Protocol,
  type RunPodSandboxRequest,
} from '../../wire/gen/runtime/v1/sandbox_pb.js';
import { inCri } from '../cri-context.ts';
import type { CriImage } from '../image-index.ts';
import type { PodToConnect } from '../network/pod-network.ts';
import type { RuntimeHandler } from '../settings.ts';
import { cgroupPath } from '../spec/cgroup-path.ts';
import { hostReads } from '../spec/host-reads.ts';
import { sandboxSpec } from '../spec/sandbox-spec.ts';
import { newId } from './id-index.ts';
import { type Pod, type PodRecord, podExtension, podName, podRecordToAny } from './pod.ts';
import { announce } from './pod-status.ts';
import { watchPod } from './pod-watch.ts';
import { rootFileOf } from './root-file.ts';
import { prepareRootfs, runnable } from './rootfs-image.ts';
import { noIo, taskOf } from './task-io.ts';
import { type CriWorld, messageOf, specSettingsOf, undoMs, unlessAbsent } from './world.ts';

/** Errors: InvalidArgument, AlreadyExists (name), NotFound (pause image), FailedPrecondition, those of the network. */
export async function runPod(
  world: CriWorld,
  context: Context,
  { config, runtimeHandler }: RunPodSandboxRequest,
): Promise<string> {
  if (config?.metadata === undefined) throw invalidArgument('sandbox config must include metadata');
  if (config.metadata.name === '' || config.metadata.namespace === '' || config.metadata.uid === '')
    throw invalidArgument('the metadata of a pod must name it, its namespace and its uid');
  const handler = handlerOf(world, runtimeHandler);
  if (config.linux?.securityContext?.namespaceOptions?.usernsOptions?.mode === NamespaceMode.POD)
    throw unimplemented('user namespaces of pods are not there yet');
  const id = newId();
  world.podNames.reserve(podName(config), id);
  const ctx = inCri(context);
  const pod: Pod = {
    id: parseSandboxId(id),
    record: recordOf(id, config, runtimeHandler),
    ready: false,
    pid: 0,
    ended: Promise.resolve(),
  };
  try {
    await make(world, ctx, pod, handler);
  } catch (error) {
    if (!(error instanceof SuppressedError)) {
      world.podNames.release(id);
      throw error;
    }
    // Something of it is still there: the kubelet will remove it.
    ctx.log.warn({ pod: id, error: messageOf(error.error) }, 'what a pod that failed has left is kept');
    world.pods.add(pod);
    throw wrap(`failed to start sandbox ${JSON.stringify(id)}`, error.suppressed);
  }
  world.pods.add(pod);
  watchPod(world, pod);
  for (const type of [ContainerEventType.CONTAINER_CREATED_EVENT, ContainerEventType.CONTAINER_STARTED_EVENT])
    announce(world, type, { podId: id, containerId: id });
  return id;
}

/** Errors: NotFound. */
export function handlerOf({ settings }: Pick<CriWorld, 'settings'>, name: string): RuntimeHandler {
  const handler = settings.handlers.get(name || settings.defaultHandler);
  if (handler === undefined) throw notFound('runtime handler', name);
  if (handler.sandboxer !== 'podsandbox')
    throw unimplemented(`sandboxer ${JSON.stringify(handler.sandboxer)} is not there yet: use podsandbox`);
  return handler;
}

const recordOf = (id: string, config: PodSandboxConfig, handler: string): PodRecord => ({
  id: parseSandboxId(id),
  config: clone(PodSandboxConfigSchema, config),
  handler,
  createdAt: now(),
  netns: '',
  ips: [],
  selinuxLabel: '',
  made: false,
});

async function make(
  world: CriWorld,
  called: NamespacedContext,
  pod: Pod,
  handler: RuntimeHandler,
): Promise<void> {
  const { id } = pod;
  const cleanup = (): NamespacedContext => forCleanup(called, undoMs);
  const lease = parseLeaseId(id);
  await using undo = new AsyncDisposableStack();
  await world.sandboxes.create(called, storedPod(pod, handler));
  undo.defer(async () => unlessAbsent(world.sandboxes.delete(cleanup(), id)));
  await world.leases.create(called, { id: lease, labels: {} });
  undo.defer(async () => unlessAbsent(world.leases.delete(cleanup(), lease, {})));
  const ctx = withLease(called, lease);

  const image = await pauseImage(world, ctx, pod.record.handler);
  undo.defer(() => world.podFiles.remove(id));
  world.podFiles.make(id, pod.record.config);
  if (pod.record.config.linux?.securityContext?.namespaceOptions?.network !== NamespaceMode.NODE) {
    world.namespaces.make(id);
    undo.defer(() => world.namespaces.remove(id));
    const netns = world.namespaces.networkPath(id);
    const { ip, additionalIps } = await world.network.setUp(ctx, podToConnect(pod.record, netns));
    undo.defer(() => world.network.tearDown(cleanup(), id));
    pod.record = { ...pod.record, netns, ips: [ip, ...additionalIps] };
  }
  await startPause(world, ctx, { pod, handler, image, undo });
  pod.record = { ...pod.record, made: true };
  await world.sandboxes.update(ctx, storedPod(pod, handler), ['extensions']);
  pod.ready = true;
  undo.move();
}

interface PauseRequest {
  readonly pod: Pod;
  readonly handler: RuntimeHandler;
  readonly image: CriImage;
  readonly undo: AsyncDisposableStack;
}

/** The container that holds the pod's namespaces. */
async function startPause(
  world: CriWorld,
  ctx: NamespacedContext,
  { pod, handler, image, undo }: PauseRequest,
): Promise<void> {
  const { config } = pod.record;
  const cleanup = (): NamespacedContext => forCleanup(ctx, undoMs);
  const containerId = parseContainerId(pod.id);
  const snapshotter = world.snapshotterOf(pod.record.handler);
  const parts = await runnable(world, ctx, image);
  const rootfs = await prepareRootfs(world, ctx, { id: pod.id, image, snapshotter });
  undo.defer(async () =>
    unlessAbsent(world.snapshotter(snapshotter).remove(cleanup(), parseSnapshotKey(pod.id))),
  );
  const { spec, selinux } = await sandboxSpec(
    {
      id: pod.id,
      namespace: ctx.namespace,
      config,
      image: { name: world.sandboxImage, config: parts.config },
      networkNamespace: pod.record.netns,
      files: world.podFiles.paths(pod.id, config),
    },
    {
      host: world.host,
      runtime: await world.runtimeFacts(ctx, handler),
      settings: specSettingsOf(world.settings.pods, handler),
      reads: hostReads,
      rootFile: rootFileOf(world, { mounts: rootfs, tempRoot: world.tempRoot }),
    },
  );
  pod.record = { ...pod.record, selinuxLabel: selinux.process };
  await world.records.create(ctx, {
    id: containerId,
    labels: { ...config.labels, 'io.cri-containerd.kind': 'sandbox' },
    image: world.sandboxImage,
    runtime: { name: handler.type, options: handler.options },
    spec: packJson(jsonTypeUrls.spec, spec satisfies RuntimeSpec),
    snapshotter,
    snapshotKey: pod.id,
    extensions: { [podExtension]: podRecordToAny(pod.record) },
    sandbox: pod.id,
  });
  undo.defer(async () => unlessAbsent(world.records.delete(cleanup(), containerId)));
  await world.tasks.create(ctx, {
    ...taskOf(containerId, { rootfs, io: noIo }),
    runtimePath: handler.path,
  });
  undo.defer(async () => {
    await unlessAbsent(world.tasks.kill(cleanup(), { containerId }, SIGKILL, { all: true }));
    await unlessAbsent(world.tasks.wait(cleanup(), { containerId }));
    await unlessAbsent(world.tasks.delete(cleanup(), containerId));
  });
  const { pid } = await world.tasks.start(ctx, { containerId });
  pod.pid = pid;
}

/** Pulled when it is missing. Errors: those of the pull; FailedPrecondition without one in the settings. */
async function pauseImage(world: CriWorld, ctx: NamespacedContext, handler: string): Promise<CriImage> {
  const { sandboxImage } = world;
  if (sandboxImage === '')
    throw failedPrecondition('pods need an image for their own process: set pinned_images.sandbox');
  const found = await world.images.find(ctx, sandboxImage);
  if (found !== undefined) return found;
  await world.pull(ctx, sandboxImage, handler);
  const pulled = await world.images.find(ctx, sandboxImage);
  if (pulled === undefined) throw notFound('image', sandboxImage);
  return pulled;
}

const storedPod = ({ record }: Pod, handler: RuntimeHandler) => ({
  id: record.id,
  runtime: { name: handler.type, options: handler.options },
  spec: undefined,
  labels: {},
  extensions: { [podExtension]: podRecordToAny(record) },
  sandboxer: handler.sandboxer,
});

const protocols = { [Protocol.TCP]: 'tcp', [Protocol.UDP]: 'udp', [Protocol.SCTP]: 'sctp' } as const;

function podToConnect({ id, config, handler }: PodRecord, netns: string): PodToConnect {
  const { metadata, dnsConfig, portMappings, annotations, linux } = config;
  const parent = linux?.cgroupParent ?? '';
  return {
    id,
    name: metadata?.name ?? '',
    namespace: metadata?.namespace ?? '',
    uid: metadata?.uid ?? '',
    handler,
    netns,
    annotations,
    portMappings: portMappings.map(({ protocol, containerPort, hostPort, hostIp }) => ({
      protocol: protocols[protocol],
      containerPort,
      hostPort,
      hostIp,
    })),
    ...(dnsConfig && { dns: dnsConfig }),
    cgroupPath: parent === '' ? '' : cgroupPath(parent, { id, namespace: 'k8s.io' }),
  };
}
