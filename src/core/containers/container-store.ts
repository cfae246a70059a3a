/** Container records: what a task is made from. Implemented by core/metadata. */
import type { AnyValue } from '../../base/any-value.ts';
import type { NamespacedContext } from '../../base/context.ts';
import { absent, type ContainerdError } from '../../base/errors.ts';
import type { ContainerId, Namespace } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';

/** In containerd's words, which its clients show. */
export const containerNotFound = (namespace: Namespace, id: string): ContainerdError =>
  absent(`container ${JSON.stringify(id)} in namespace ${JSON.stringify(namespace)}`);

export interface Container {
  readonly id: ContainerId;
  readonly labels: Labels;
  /** Only a name; not checked. */
  readonly image: string;
  readonly runtime: { readonly name: string; readonly options: AnyValue | undefined };
  readonly spec: AnyValue | undefined;
  readonly snapshotter: string;
  readonly snapshotKey: string;
  readonly extensions: Readonly<Record<string, AnyValue>>;
  readonly sandbox: string;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
}

export type NewContainer = Omit<Container, 'createdAt' | 'updatedAt'>;

/** Mutations emit /containers/create, /containers/update, /containers/delete after they are durable. */
export interface ContainerStore {
  /** Errors: NotFound. */
  get(ctx: NamespacedContext, id: ContainerId): Promise<Container>;
  /** Filters over id, runtime.name, image, labels.*. Errors: InvalidArgument. */
  list(ctx: NamespacedContext, filters: readonly string[]): Promise<Container[]>;
  /** Errors: AlreadyExists, InvalidArgument. */
  create(ctx: NamespacedContext, container: NewContainer): Promise<Container>;
  /** Mask paths: labels, labels.K, spec, extensions, extensions.K, image, snapshotkey. Errors: NotFound, InvalidArgument. */
  update(ctx: NamespacedContext, container: NewContainer, paths: readonly string[]): Promise<Container>;
  /** Does not look at tasks. Errors: NotFound. */
  delete(ctx: NamespacedContext, id: ContainerId): Promise<void>;
}
