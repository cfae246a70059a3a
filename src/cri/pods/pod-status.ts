/** PodSandboxStatus, ListPodSandbox and StreamPodSandboxes: pods as the wire has them. */
import { type MessageInitShape, toJson } from '@bufbuild/protobuf';
import { now } from '../../base/time.ts';
import type { ContainerEventType } from '../../wire/gen/runtime/v1/events_pb.js';
import {
  PodSandboxConfigSchema,
  type PodSandboxFilter,
  type PodSandboxSchema,
  PodSandboxState,
  type PodSandboxStatusRequest,
  type PodSandboxStatusResponseSchema,
  type PodSandboxStatusSchema,
  type StreamPodSandboxesResponseSchema,
} from '../../wire/gen/runtime/v1/sandbox_pb.js';
import { batchSize, hasLabels, statusMessage } from '../containers/container-status.ts';
import type { Pod } from './pod.ts';
import { type CriWorld, containersOf, requirePod } from './world.ts';

/** Errors: NotFound. */
export function podStatus(
  world: CriWorld,
  { podSandboxId, verbose }: PodSandboxStatusRequest,
): MessageInitShape<typeof PodSandboxStatusResponseSchema> {
  const pod = requirePod(world, podSandboxId);
  return {
    status: podMessage(pod),
    containersStatuses: containersOf(world, pod.id).map(statusMessage),
    timestamp: now(),
    ...(verbose && { info: { info: JSON.stringify(infoOf(pod)) } }),
  };
}

function podMessage({ record, ready }: Pod): MessageInitShape<typeof PodSandboxStatusSchema> {
  const { config, ips, handler } = record;
  const [ip = '', ...additional] = ips;
  const options = config.linux?.securityContext?.namespaceOptions;
  return {
    id: record.id,
    ...(config.metadata && { metadata: config.metadata }),
    state: stateOfPod(ready),
    createdAt: record.createdAt,
    network: { ip, additionalIps: additional.map((each) => ({ ip: each })) },
    linux: { namespaces: { ...(options && { options }) } },
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler: handler,
  };
}

const stateOfPod = (ready: boolean): PodSandboxState =>
  ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;

const infoOf = ({ record, pid, ready }: Pod): object => ({
  pid,
  processStatus: ready ? 'running' : 'stopped',
  runtimeHandler: record.handler,
  networkNamespace: record.netns,
  config: toJson(PodSandboxConfigSchema, record.config),
});

export const listPods = (
  world: CriWorld,
  filter: PodSandboxFilter | undefined,
): MessageInitShape<typeof PodSandboxSchema>[] =>
  world.pods
    .list()
    .filter((pod) => matches(world, pod, filter))
    .map(({ record, ready }) => ({
      id: record.id,
      ...(record.config.metadata && { metadata: record.config.metadata }),
      state: stateOfPod(ready),
      createdAt: record.createdAt,
      labels: record.config.labels,
      annotations: record.config.annotations,
      runtimeHandler: record.handler,
    }));

export async function* streamPods(
  world: CriWorld,
  filter: PodSandboxFilter | undefined,
): AsyncGenerator<MessageInitShape<typeof StreamPodSandboxesResponseSchema>, void> {
  const podSandboxes = listPods(world, filter);
  for (let at = 0; at < podSandboxes.length; at += batchSize)
    yield { podSandboxes: podSandboxes.slice(at, at + batchSize) };
}

function matches(world: CriWorld, { record, ready }: Pod, filter: PodSandboxFilter | undefined): boolean {
  if (filter === undefined) return true;
  if (filter.id !== '' && world.pods.find(filter.id)?.id !== record.id) return false;
  if (filter.state !== undefined && filter.state.state !== stateOfPod(ready)) return false;
  return hasLabels(record.config.labels, filter.labelSelector);
}

/** Tells those who watch, with the pod's state as it is now. */
export function announce(
  world: CriWorld,
  type: ContainerEventType,
  { podId, containerId }: { readonly podId: string; readonly containerId: string },
): void {
  const pod = world.pods.find(podId);
  world.events.publish({
    containerId,
    containerEventType: type,
    createdAt: now(),
    ...(pod && { podSandboxStatus: podMessage(pod) }),
    containersStatuses: containersOf(world, podId).map(statusMessage),
  });
}
