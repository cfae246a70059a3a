/** Plugins and plugin types with what their instances are, so that `get` and `all` are typed. */

import type { StoreChecker } from '../../core/check/store-checker.ts';
import type { ContainerStore } from '../../core/containers/container-store.ts';
import type { BlobStore } from '../../core/content/blob-store.ts';
import type { ContentStore } from '../../core/content/content-store.ts';
import type { Differ } from '../../core/diff/differ.ts';
import type { GarbageCollector } from '../../core/gc/garbage-collector.ts';
import type { ImageStore } from '../../core/images/image-store.ts';
import type { LeaseManager } from '../../core/leases/lease-manager.ts';
import type { MetadataStore } from '../../core/metadata/metadata.ts';
import type { MountManager } from '../../core/mounts/mount-manager.ts';
import type { NamespaceStore } from '../../core/namespaces/namespace-store.ts';
import type { NriGate } from '../../core/nri/nri-gate.ts';
import type { PluginToken, PluginTypeToken } from '../../core/plugins/plugin.ts';
import type { TaskEventExchange } from '../../core/runtime/loss/task-events.ts';
import type { ShimProgram } from '../../core/runtime/shims/foreign-shim.ts';
import type { StreamManager as ProcessStreamManager } from '../../core/runtime/streams/stream-manager.ts';
import type { TaskManager } from '../../core/runtime/task-manager.ts';
import type { SandboxStore } from '../../core/sandboxes/sandbox-store.ts';
import type { Snapshotter } from '../../core/snapshots/snapshotter.ts';
import type { StreamManager } from '../../core/streaming/stream-manager.ts';
import type { ImageTransfers } from '../../core/transfer/image-transfers.ts';
import type { ImageVerifier } from '../../core/verifiers/image-verifier.ts';
import type { CriSettings } from '../../cri/settings.ts';
import type { ServedService } from '../../wire/service.ts';
import type { ConnectionSource } from '../../wire/unix-listener.ts';
import type { Deprecations } from '../deprecations.ts';
import type { ContainerMetrics } from '../metrics/container-metrics.ts';
import type { CriImages } from './cri.ts';

export const contentType: PluginTypeToken<BlobStore> = { type: 'io.containerd.content.v1' };
export const content: PluginToken<BlobStore> = { ...contentType, id: 'content' };
export const eventExchange: PluginToken<TaskEventExchange> = {
  type: 'io.containerd.event.v1',
  id: 'exchange',
};
export const metadata: PluginToken<MetadataStore> = { type: 'io.containerd.metadata.v1', id: 'bolt' };
export const scheduler: PluginToken<GarbageCollector> = { type: 'io.containerd.gc.v1', id: 'scheduler' };
export const leaseManager: PluginToken<LeaseManager> = { type: 'io.containerd.lease.v1', id: 'manager' };

export const sandboxStore: PluginToken<SandboxStore> = {
  type: 'io.containerd.sandbox.store.v1',
  id: 'local',
};

export const taskManager: PluginToken<TaskManager & ProcessStreamManager> = {
  type: 'io.containerd.runtime.v2',
  id: 'task',
};
/** How the built-in shim is run, and its directory. */
export const shimManager: PluginToken<{
  readonly program: ShimProgram;
  readonly directory: string;
  /** Directory beside which shims are looked for. */
  readonly besideDir: string;
}> = {
  type: 'io.containerd.shim.v1',
  id: 'manager',
};

export const serviceType: PluginTypeToken<unknown> = { type: 'io.containerd.service.v1' };
const service = <Instance>(id: string): PluginToken<Instance> => ({ type: serviceType.type, id });
export const contentNoun = service<ContentStore>('content-service');
export const namespacesNoun = service<NamespaceStore>('namespaces-service');
export const imagesNoun = service<ImageStore>('images-service');
export const containersNoun = service<ContainerStore>('containers-service');
/** The namespaced views by name. */
export const snapshotsNoun = service<ReadonlyMap<string, Snapshotter>>('snapshots-service');

export const tasksNoun = service<TaskManager>('tasks-service');

/** The differs to ask, in their order. */
export const diffNoun = service<{ readonly differs: readonly Differ[]; readonly syncFileSystem: boolean }>(
  'diff-service',
);

export const differType: PluginTypeToken<Differ> = { type: 'io.containerd.differ.v1' };
export const walkingDiffer: PluginToken<Differ> = { ...differType, id: 'walking' };
export const snapshotterType: PluginTypeToken<Snapshotter> = { type: 'io.containerd.snapshotter.v1' };
export const streamManager: PluginToken<StreamManager> = {
  type: 'io.containerd.streaming.v1',
  id: 'manager',
};
export const mountManager: PluginToken<MountManager> = { type: 'io.containerd.mount-manager.v1', id: 'bolt' };
export const mountHandlerType: PluginTypeToken<unknown> = { type: 'io.containerd.mount-handler.v1' };
export const transferLocal: PluginToken<ImageTransfers> = { type: 'io.containerd.transfer.v1', id: 'local' };
export const imageVerifierType: PluginTypeToken<ImageVerifier> = { type: 'io.containerd.image-verifier.v1' };
export const bindirVerifier: PluginToken<ImageVerifier> = { ...imageVerifierType, id: 'bindir' };
/** Ours: containerd has none. */
export const storeChecker: PluginToken<StoreChecker> = { type: 'io.gantry.check.v1', id: 'store' };
/** Undefined when the settings want none. */
export const nodeResources: PluginToken<NriGate | undefined> = { type: 'io.containerd.nri.v1', id: 'nri' };
export const criType: PluginTypeToken<unknown> = { type: 'io.containerd.cri.v1' };
export const criImages: PluginToken<CriImages> = { type: 'io.containerd.cri.v1', id: 'images' };
export const criRuntime: PluginToken<CriSettings> = { type: 'io.containerd.cri.v1', id: 'runtime' };
/** What a service plugin puts on the sockets. */
export interface RpcServices {
  readonly grpc: readonly ServedService[];
  readonly ttrpc?: readonly ServedService[];
}
export const grpcType: PluginTypeToken<RpcServices> = { type: 'io.containerd.grpc.v1' };
export const serverType: PluginTypeToken<ConnectionSource> = { type: 'io.containerd.server.v1' };

export const deprecationWarnings: PluginToken<Deprecations> = {
  type: 'io.containerd.warning.v1',
  id: 'deprecations',
};
/** Undefined when the settings want no series of containers. */
export const taskMonitor: PluginToken<ContainerMetrics | undefined> = {
  type: 'io.containerd.monitor.task.v1',
  id: 'cgroups',
};
/** Undefined while nobody can ask for the series. */
export const prometheus: PluginToken<
  { metrics(): Promise<string>; readonly contentType: string } | undefined
> = {
  type: 'io.containerd.metrics.v1',
  id: 'grpc-prometheus',
};
