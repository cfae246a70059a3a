/**
 * Which namespaces (namespaces(7)) a pod's own process and its containers get. The pod makes them, containers join them:
 * in the pod's pid namespace, in another container's (TARGET) or in one of their own (CONTAINER).
 */
import { invalidArgument } from '../../base/errors.ts';
import type { SpecIdMapping, SpecNamespace } from '../../oci/runtime-spec.ts';
import {
  type IDMapping,
  NamespaceMode,
  type NamespaceOption,
  type UserNamespace,
} from '../../wire/gen/runtime/v1/common_pb.js';

export interface IdMappings {
  readonly uidMappings: readonly SpecIdMapping[];
  readonly gidMappings: readonly SpecIdMapping[];
}

/** Paths of a pod's namespaces, as `/proc/PID/ns/net`. */
export interface PodNamespaces {
  readonly network: string;
  readonly ipc: string;
  readonly uts: string;
  readonly pid: string;
  readonly user: string;
}

export type NamespaceWords = Omit<NamespaceOption, '$typeName' | '$unknown' | 'usernsOptions'> & {
  readonly usernsOptions?: Pick<UserNamespace, 'mode' | 'uids' | 'gids'> | undefined;
};

export const isOnHost = (mode: NamespaceMode | undefined): boolean => mode === NamespaceMode.NODE;

/** Undefined without a user namespace. Errors: InvalidArgument. */
export function idMappings(words: NamespaceWords['usernsOptions']): IdMappings | undefined {
  if (words === undefined) return undefined;
  const { mode, uids, gids } = words;
  if (mode === NamespaceMode.NODE) {
    if (uids.length + gids.length > 0)
      throw invalidArgument('a user namespace of mode NODE is the host’s, and takes no mappings');
    return undefined;
  }
  if (mode !== NamespaceMode.POD)
    throw invalidArgument(
      `user namespace mode ${NamespaceMode[mode] ?? String(mode)} is not supported: use POD or NODE`,
    );
  return { uidMappings: [onlyMapping('uid', uids)], gidMappings: [onlyMapping('gid', gids)] };
}

type Range = Pick<IDMapping, 'hostId' | 'containerId' | 'length'>;

function onlyMapping(what: string, mappings: readonly Range[]): SpecIdMapping {
  const [first, ...more] = mappings;
  if (first === undefined || more.length > 0)
    throw invalidArgument(`a user namespace needs exactly one ${what} mapping, not ${mappings.length}`);
  if (first.containerId !== 0)
    throw invalidArgument(`the ${what} mapping must begin at container id 0, not ${first.containerId}`);
  return specMapping(what, first);
}

/** Errors: InvalidArgument for a range that is empty or passes the end of ids. */
export function specMapping(what: string, { hostId, containerId, length }: Range): SpecIdMapping {
  if (length < 1 || hostId + length > 2 ** 32 || containerId + length > 2 ** 32)
    throw invalidArgument(`${what} mapping ${containerId}:${hostId}:${length} is no range of ids`);
  return { containerID: containerId, hostID: hostId, size: length };
}

/** What the pod's own process gets; `network` is the path of the pod's network namespace, "" for a new one. */
export function sandboxNamespaces(
  words: NamespaceWords | undefined,
  { network, mappings, cgroup }: { network: string; mappings: IdMappings | undefined; cgroup: boolean },
): SpecNamespace[] {
  const onHost = isOnHost(words?.network);
  for (const kind of ['network', 'pid', 'ipc'] as const)
    if (words?.[kind] === NamespaceMode.TARGET)
      throw invalidArgument(`the ${kind} namespace of a pod cannot be TARGET: that is for containers`);
  return [
    ...(isOnHost(words?.pid) ? [] : [{ type: 'pid' } as const]),
    ...(isOnHost(words?.ipc) ? [] : [{ type: 'ipc' } as const]),
    ...(onHost ? [] : [{ type: 'uts' } as const]),
    { type: 'mount' },
    ...(onHost ? [] : [{ type: 'network', ...(network !== '' && { path: network }) } as const]),
    ...(cgroup ? [{ type: 'cgroup' } as const] : []),
    ...(mappings ? [{ type: 'user' } as const] : []),
  ];
}

export interface ContainerNamespaceContext {
  readonly pod: PodNamespaces;
  /** Of the container that TARGET names; the caller has checked that it is in this pod and runs. */
  readonly targetPid?: string;
  readonly mappings: IdMappings | undefined;
  readonly cgroup: boolean;
}

/** Errors: InvalidArgument for TARGET without a target. */
export function containerNamespaces(
  words: NamespaceWords | undefined,
  { pod, targetPid, mappings, cgroup }: ContainerNamespaceContext,
): SpecNamespace[] {
  return [
    { type: 'mount' },
    ...(cgroup ? [{ type: 'cgroup' } as const] : []),
    { type: 'network', path: pod.network },
    { type: 'ipc', path: pod.ipc },
    { type: 'uts', path: pod.uts },
    pidNamespace(words, pod.pid, targetPid),
    ...(mappings ? [{ type: 'user', path: pod.user } as const] : []),
  ];
}

function pidNamespace(
  words: NamespaceWords | undefined,
  pod: string,
  target: string | undefined,
): SpecNamespace {
  if (words?.pid === NamespaceMode.CONTAINER) return { type: 'pid' };
  if (words?.pid !== NamespaceMode.TARGET) return { type: 'pid', path: pod };
  if (target !== undefined) return { type: 'pid', path: target };
  throw invalidArgument(
    `the pid namespace is to be that of container ${JSON.stringify(words.targetId)}, which is not running in this pod`,
  );
}

/** A container's user namespace is its pod's. Errors: InvalidArgument when its words differ from the pod's. */
export function sameMappings(
  pod: NamespaceWords | undefined,
  own: NamespaceWords | undefined,
): IdMappings | undefined {
  const ofPod = idMappings(pod?.usernsOptions);
  const ofContainer = idMappings(own?.usernsOptions);
  if (JSON.stringify(ofPod) !== JSON.stringify(ofContainer))
    throw invalidArgument('the user namespace of a container must be that of its pod, mappings included');
  return ofPod;
}
