/**
 * The contract of snapshotters: file systems as layers on parents. Prepare or view, use the mounts, commit, remove.
 *
 * Two implementations of the same contract: the back ends (overlayfs, native, those of other programs), whose keys are
 * global, and the namespaced view in core/metadata. One suite (snapshotter.suite.ts) runs against each.
 * Rules: facts B7. Labels reach a back end only under `containerd.io/snapshot/` and `containerd.io/snapshot.ref`.
 */
import type { Context } from '../../base/context.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';

export type SnapshotKind = 'active' | 'view' | 'committed';

export interface SnapshotInfo {
  readonly key: SnapshotKey;
  /** Committed snapshot it stands on. */
  readonly parent: SnapshotKey | undefined;
  readonly kind: SnapshotKind;
  readonly labels: Labels;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
}

/** Of the snapshot's own layer, without its parents. */
export interface SnapshotUsage {
  readonly sizeBytes: number;
  readonly inodes: number;
}

export interface PrepareOptions {
  readonly parent?: SnapshotKey;
  readonly labels?: Labels;
}

export interface CommitOptions extends PrepareOptions {
  /** The tree was not written to since the caller's last `sync`: the commit need not do that again. */
  readonly isSynced?: boolean;
}

export interface Snapshotter {
  /** `overlayfs`, `native`, …: the name clients ask for. */
  readonly name: string;
  /** `rebase`, `remap-ids`, … as shown by introspection. */
  readonly capabilities: readonly string[];
  /** Served by another program: what its commit does for the disk is not known here. */
  readonly isRemote?: boolean;
  /** Labels that it tells of a snapshot beside those it was given; none of one that is not there. */
  readonly addedLabels?: (key: SnapshotKey) => Labels;
  /** Errors: NotFound. */
  stat(ctx: Context, key: SnapshotKey): Promise<SnapshotInfo>;
  /** Labels only; `paths` as update masks. Errors: NotFound, InvalidArgument. */
  update(
    ctx: Context,
    info: { key: SnapshotKey; labels: Labels },
    paths: readonly string[],
  ): Promise<SnapshotInfo>;
  /** Errors: NotFound. */
  usage(ctx: Context, key: SnapshotKey): Promise<SnapshotUsage>;
  /** Of an active or view snapshot. Errors: NotFound; FailedPrecondition when committed. */
  mounts(ctx: Context, key: SnapshotKey): Promise<Mount[]>;
  /** Errors: AlreadyExists, NotFound (parent), InvalidArgument (parent not committed). */
  prepare(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]>;
  /** As prepare, read-only. */
  view(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]>;
  /**
   * Renames active `key` to committed `name`, keeping only the labels passed. `parent` rebases an active snapshot
   * that has none. Errors: NotFound, AlreadyExists (name), FailedPrecondition (not active, cannot rebase).
   */
  commit(ctx: Context, name: SnapshotKey, key: SnapshotKey, options: CommitOptions): Promise<void>;
  /** What was written to snapshots before the call is on disk when it resolves: once for several commits. */
  sync?(ctx: Context): Promise<void>;
  /** Errors: NotFound, FailedPrecondition (has children). */
  remove(ctx: Context, key: SnapshotKey): Promise<void>;
  /** Any order. Errors: InvalidArgument (filter). */
  list(ctx: Context, filters: readonly string[]): AsyncIterable<SnapshotInfo>;
  /** Frees the disk space of what was removed. */
  cleanup(ctx: Context): Promise<void>;
}
