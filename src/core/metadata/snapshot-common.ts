/** What making and committing snapshots have in common: their dependencies, and rules that a transaction checks. */
import type { NamespacedContext } from '../../base/context.ts';
import { alreadyExists, invalidArgument } from '../../base/errors.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { SnapshotInfo, Snapshotter } from '../snapshots/snapshotter.ts';
import { text } from './columns.ts';
import type { Sql } from './database.ts';
import type { Sequence } from './sequence.ts';
import type { BackendKeys } from './snapshot-backend-keys.ts';
import { absentParent, findSnapshot, insertSnapshot } from './snapshot-rows.ts';
import { ensureNamespace, joinLease, requireLease, type StoreDependencies } from './store-base.ts';

export interface SnapshotDependencies extends StoreDependencies {
  readonly backend: Snapshotter;
  readonly sequence: Sequence;
}

/** For the parts of one namespaced view. */
export interface SnapshotPartDependencies extends SnapshotDependencies {
  readonly keys: BackendKeys;
}

export const snapshotLeaseType = (snapshotter: string): string => `snapshots/${snapshotter}`;

/** The parent's key in the back end. Errors: NotFound (lease, parent), AlreadyExists, InvalidArgument. */
export function checkNewSnapshot(
  sql: Sql,
  ctx: NamespacedContext,
  snapshotter: string,
  { key, parent }: { key: SnapshotKey; parent: SnapshotKey | undefined },
): SnapshotKey | undefined {
  if (ctx.lease !== undefined) requireLease(sql, ctx.namespace, ctx.lease);
  if (findSnapshot(sql, ctx.namespace, snapshotter, key) !== undefined) throw alreadyExists('snapshot', key);
  return parent === undefined ? undefined : committedParent(sql, ctx, snapshotter, parent);
}

/** The parent's key in the back end. Errors: NotFound, InvalidArgument. */
export function committedParent(
  sql: Sql,
  ctx: NamespacedContext,
  snapshotter: string,
  parent: SnapshotKey,
): SnapshotKey {
  const row = findSnapshot(sql, ctx.namespace, snapshotter, parent);
  if (row === undefined) throw absentParent(parent);
  if (text(row, 'kind') !== 'committed')
    throw invalidArgument(`parent snapshot ${JSON.stringify(parent)} is not committed`);
  return text(row, 'backend_key') as SnapshotKey;
}

export interface NewSnapshot {
  readonly key: SnapshotKey;
  readonly backendKey: SnapshotKey;
  readonly parent: SnapshotKey | undefined;
  readonly kind: SnapshotInfo['kind'];
  readonly labels: Labels;
}

/** Lists it, under the caller's lease. */
export function addSnapshot(
  sql: Sql,
  ctx: NamespacedContext,
  snapshotter: string,
  snapshot: NewSnapshot,
): void {
  ensureNamespace(sql, ctx.namespace);
  insertSnapshot(sql, ctx.namespace, snapshotter, snapshot);
  joinLease(sql, ctx, snapshotLeaseType(snapshotter), snapshot.key);
}

/** Puts a snapshot that is listed under the caller's lease; false when it is not. */
export function leaseSnapshot(
  sql: Sql,
  ctx: NamespacedContext,
  snapshotter: string,
  key: SnapshotKey,
): boolean {
  if (findSnapshot(sql, ctx.namespace, snapshotter, key) === undefined) return false;
  joinLease(sql, ctx, snapshotLeaseType(snapshotter), key);
  return true;
}
