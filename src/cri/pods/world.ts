/** What the stories of pods and containers have in common: the nouns of core, what is known, and where things are. */
import type { Context } from '../../base/context.ts';
import { ContainerdError, hasCode, notFound } from '../../base/errors.ts';
import type { KeyedLock } from '../../base/keyed-lock.ts';
import type { ContainerStore } from '../../core/containers/container-store.ts';
import type { ContentStore } from '../../core/content/content-store.ts';
import type { LeaseManager } from '../../core/leases/lease-manager.ts';
import type { TaskManager } from '../../core/runtime/task-manager.ts';
import type { SandboxStore } from '../../core/sandboxes/sandbox-store.ts';
import type { Snapshotter } from '../../core/snapshots/snapshotter.ts';
import type { Platform } from '../../platform/platform.ts';
import type { ContainerFiles, CriContainer } from '../containers/container.ts';
import type { ContainerEvents } from '../containers/container-events.ts';
import type { ImageIndex } from '../image-index.ts';
import type { PodNamespaces } from '../network/pod-namespaces.ts';
import type { PodNetwork } from '../network/pod-network.ts';
import type { CriSettings, PodSettings, RuntimeHandler } from '../settings.ts';
import type { HostFacts, RuntimeFacts, SpecSettings } from '../spec/spec-facts.ts';
import type { IdIndex, ReservedNames } from './id-index.ts';
import type { Pod } from './pod.ts';
import type { PodFileStore } from './pod-files.ts';

export interface CriWorld {
  readonly sandboxes: SandboxStore;
  readonly records: ContainerStore;
  readonly content: ContentStore;
  readonly leases: LeaseManager;
  readonly tasks: TaskManager;
  /** Errors: InvalidArgument. */
  readonly snapshotter: (name: string) => Snapshotter;
  /** By runtime handler. */
  readonly snapshotterOf: (handler: string) => string;
  /** Directory of a snapshotter. */
  readonly snapshotterRoot: (name: string) => string;
  readonly images: ImageIndex;
  readonly pull: (ctx: Context, image: string, handler: string) => Promise<unknown>;
  readonly network: PodNetwork;
  readonly namespaces: PodNamespaces;
  readonly platform: Platform;
  readonly host: HostFacts;
  readonly runtimeFacts: (ctx: Context, handler: RuntimeHandler) => Promise<RuntimeFacts>;
  readonly pods: IdIndex<Pod>;
  readonly containers: IdIndex<CriContainer>;
  readonly podNames: ReservedNames;
  readonly containerNames: ReservedNames;
  readonly podFiles: PodFileStore;
  readonly containerFiles: ContainerFiles;
  /** One call at a time changes a pod or container. */
  readonly locks: KeyedLock;
  readonly events: ContainerEvents;
  readonly settings: CriSettings;
  /** Spelled out; "" for none. */
  readonly sandboxImage: string;
  /** Of nobody's call: for watching what runs. */
  readonly background: Context;
  /** For mounts that are gone before the call is. */
  readonly tempRoot: string;
  readonly stateDir: string;
}

/** Clean-up of one step, when its caller has gone. */
export const undoMs = 30_000;

/** Errors: NotFound. */
export function requirePod({ pods }: Pick<CriWorld, 'pods'>, text: string): Pod {
  const pod = pods.find(text);
  if (pod === undefined) throw notFound('sandbox', text);
  return pod;
}

/** Errors: NotFound. */
export function requireContainer({ containers }: Pick<CriWorld, 'containers'>, text: string): CriContainer {
  const container = containers.find(text);
  if (container === undefined) throw notFound('container', text);
  return container;
}

export const containersOf = ({ containers }: Pick<CriWorld, 'containers'>, podId: string): CriContainer[] =>
  containers.list().filter(({ record }) => record.podId === podId);

/** Done when it is not there any more. */
export async function unlessAbsent<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** What the specs of a handler's pods are made by. */
export const specSettingsOf = ({ spec }: PodSettings, { spec: own }: RuntimeHandler): SpecSettings => ({
  ...spec,
  ...own,
});

export const messageOf = (error: unknown): string => ContainerdError.from(error).message;
