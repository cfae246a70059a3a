/** Leases: what keeps resources alive while they are being put together. Implemented by core/metadata. */
import type { NamespacedContext } from '../../base/context.ts';
import type { LeaseId } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';

export interface Lease {
  readonly id: LeaseId;
  readonly createdAt: Instant;
  readonly labels: Labels;
}

/** type: `content` | `ingests` | `images` | `snapshots/<snapshotter>`. */
export interface LeaseResource {
  readonly type: string;
  readonly id: string;
}

export interface LeaseManager {
  /** Random id when absent. Errors: AlreadyExists, InvalidArgument. */
  create(ctx: NamespacedContext, lease: { id?: LeaseId; labels: Labels }): Promise<Lease>;
  /** Errors: NotFound. */
  delete(ctx: NamespacedContext, id: LeaseId, options: { sync?: boolean }): Promise<void>;
  /** Filters over id, labels.*. */
  list(ctx: NamespacedContext, filters: readonly string[]): Promise<Lease[]>;
  /** Errors: NotFound (lease), InvalidArgument, Unimplemented (resource type). Adding twice is not an error. */
  addResource(ctx: NamespacedContext, id: LeaseId, resource: LeaseResource): Promise<void>;
  deleteResource(ctx: NamespacedContext, id: LeaseId, resource: LeaseResource): Promise<void>;
  listResources(ctx: NamespacedContext, id: LeaseId): Promise<LeaseResource[]>;
}
