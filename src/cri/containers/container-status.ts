/** ContainerStatus, ListContainers and StreamContainers: containers as the wire has them. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { toJson } from '@bufbuild/protobuf';
import {
  ContainerConfigSchema,
  type ContainerFilter,
  type ContainerSchema,
  type ContainerStatusRequest,
  type ContainerStatusResponseSchema,
  type ContainerStatusSchema,
  type StreamContainersResponseSchema,
} from '../../wire/gen/runtime/v1/container_pb.js';
import { type CriWorld, requireContainer } from '../pods/world.ts';
import { type CriContainer, stateOf } from './container.ts';
import { signalOfName } from './stop-signal.ts';

export type StatusMessage = MessageInitShape<typeof ContainerStatusSchema>;
type ListedMessage = MessageInitShape<typeof ContainerSchema>;

/** As containerd batches them. */
export const batchSize = 5000;

/** Errors: NotFound. */
export function containerStatus(
  world: CriWorld,
  { containerId, verbose }: ContainerStatusRequest,
): MessageInitShape<typeof ContainerStatusResponseSchema> {
  const container = requireContainer(world, containerId);
  return {
    status: statusMessage(container),
    ...(verbose && { info: { info: JSON.stringify(infoOf(container)) } }),
  };
}

export function statusMessage(container: CriContainer): StatusMessage {
  const { record, progress } = container;
  const { config } = record;
  const exited = progress.finishedAt > 0n;
  return {
    id: record.id,
    ...(config.metadata && { metadata: config.metadata }),
    state: stateOf(progress),
    createdAt: progress.createdAt,
    startedAt: progress.startedAt,
    finishedAt: progress.finishedAt,
    exitCode: progress.exitCode,
    image: {
      image: record.imageName,
      ...(config.image && { userSpecifiedImage: config.image.userSpecifiedImage }),
    },
    imageRef: record.imageRef,
    imageId: record.imageId,
    reason: exited ? reasonOf(container) : '',
    message: progress.message,
    labels: config.labels,
    annotations: config.annotations,
    mounts: config.mounts,
    logPath: record.logPath,
    ...(config.linux?.resources && { resources: { linux: config.linux.resources } }),
    user: {
      linux: {
        uid: BigInt(record.user.uid),
        gid: BigInt(record.user.gid),
        supplementalGroups: (record.user.additionalGids ?? []).map(BigInt),
      },
    },
    stopSignal: signalOfName(record.stopSignal),
  };
}

function reasonOf({ progress }: CriContainer): string {
  if (progress.reason !== '') return progress.reason;
  return progress.exitCode === 0 ? 'Completed' : 'Error';
}

const infoOf = ({ record, progress }: CriContainer): object => ({
  sandboxID: record.podId,
  pid: progress.pid,
  config: toJson(ContainerConfigSchema, record.config),
});

export const listContainers = (world: CriWorld, filter: ContainerFilter | undefined): ListedMessage[] =>
  world.containers
    .list()
    .filter((container) => matches(world, container, filter))
    .map(({ record, progress }) => ({
      id: record.id,
      podSandboxId: record.podId,
      ...(record.config.metadata && { metadata: record.config.metadata }),
      image: {
        image: record.config.image?.image ?? '',
        userSpecifiedImage: record.config.image?.userSpecifiedImage ?? '',
      },
      imageRef: record.imageId,
      imageId: record.imageId,
      state: stateOf(progress),
      createdAt: progress.createdAt,
      labels: record.config.labels,
      annotations: record.config.annotations,
    }));

export async function* streamContainers(
  world: CriWorld,
  filter: ContainerFilter | undefined,
): AsyncGenerator<MessageInitShape<typeof StreamContainersResponseSchema>, void> {
  const containers = listContainers(world, filter);
  for (let at = 0; at < containers.length; at += batchSize)
    yield { containers: containers.slice(at, at + batchSize) };
}

function matches(
  world: CriWorld,
  { record, progress }: CriContainer,
  filter: ContainerFilter | undefined,
): boolean {
  if (filter === undefined) return true;
  const { id, podSandboxId, state, labelSelector } = filter;
  if (id !== '' && world.containers.find(id)?.id !== record.id) return false;
  if (podSandboxId !== '' && (world.pods.find(podSandboxId)?.id ?? podSandboxId) !== record.podId)
    return false;
  if (state !== undefined && state.state !== stateOf(progress)) return false;
  return hasLabels(record.config.labels, labelSelector);
}

export const hasLabels = (
  labels: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): boolean =>
  Object.entries(wanted).every(([name, value]) => Object.hasOwn(labels, name) && labels[name] === value);
