/**
 * The client library of Gantry, for gantryd and for containerd. This is the package's entry file `./client`.
 *
 * `connect` gives a client; its members are the daemon's nouns. What is thrown is ContainerdError, whose `code` says
 * what went wrong in containerd's words.
 */
import { connectGrpc } from '../wire/grpc/client.ts';
import { GantryClient } from './gantry-client.ts';

export interface ConnectOptions {
  /** Path of the daemon's socket, or `unix://` and the path. */
  readonly address: string;
  /** `default` when absent. */
  readonly namespace?: string;
}

/** Nothing is sent before the first call, which throws Unavailable when nobody listens. */
export const connect = ({ address, namespace = 'default' }: ConnectOptions): GantryClient =>
  new GantryClient({ connection: connectGrpc(address) }, { namespace });

export type { AnyValue } from '../base/any-value.ts';
export type { Digest } from '../base/digest.ts';
export { ContainerdError, type ErrorCode, hasCode } from '../base/errors.ts';
export type { Labels } from '../base/labels.ts';
export type { Instant } from '../base/time.ts';
export { formatInstant, msOfInstant } from '../base/time.ts';
export type { ContentInfo } from '../core/content/content-store.ts';
export type { Image } from '../core/images/image-store.ts';
export type { ProcessEnd, ProcessIo, ProcessState, ProcessStatus } from '../core/runtime/task-manager.ts';
export type { Credentials, TransferProgress } from '../core/transfer/transfer.ts';
export { makeSpec, type SpecOptions } from '../oci/default-spec.ts';
export type { Descriptor } from '../oci/descriptor.ts';
export type { Platform } from '../oci/platform.ts';
export type { RuntimeSpec, SpecMount, SpecProcess } from '../oci/runtime-spec.ts';
export type { Mount } from '../platform/mount.ts';
export {
  type ContainerCreateDependencies,
  type ContainerFromImage,
  createContainer,
  type RootFileReader,
  stopSignalLabel,
} from './container-create.ts';
export { type ContainerRecord, defaultRuntime, type NewContainerRecord, specOf } from './containers.ts';
export type { EventEnvelope } from './events.ts';
export { GantryClient } from './gantry-client.ts';
export type { ImageContent } from './image-content.ts';
export type { ImageUsage } from './images.ts';
export type { DaemonVersion, PluginInfo, ServerInfo } from './introspection.ts';
export type { HeldLease, LeaseInfo } from './leases.ts';
export type { NamespaceInfo } from './namespaces.ts';
export {
  attachStreams,
  type FifoMaker,
  type FifoOptions,
  logStreams,
  makeStreams,
  noStreams,
  type ProcessStreams,
  type WantedStreams,
} from './process-io.ts';
export { Pull, type PullOptions } from './pull.ts';
export type { Call } from './scope.ts';
export type { SnapshotRecord, SnapshotsClient } from './snapshots.ts';
export { Exec, type ExecOptions, Process, Task } from './task.ts';
export type { StuckTask, TaskMetrics, TaskOptions } from './tasks.ts';
