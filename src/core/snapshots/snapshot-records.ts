/**
 * What a snapshotter back end keeps about its snapshots: identity, parents, kind, usage. Transactional and durable;
 * implemented over the metadata database by core/metadata/snapshot-records.ts.
 *
 * Numbers (`id`) name directories and are never used again.
 */
import type { SnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { SnapshotInfo, SnapshotKind, SnapshotUsage } from './snapshotter.ts';

export interface SnapshotRecord extends SnapshotInfo {
  readonly id: number;
  /** Ids of the parents, nearest first. */
  readonly parentIds: readonly number[];
}

export interface SnapshotTransaction {
  get(key: SnapshotKey): SnapshotRecord | undefined;
  /** Errors: AlreadyExists (key), NotFound (parent), InvalidArgument (parent not committed). */
  create(
    kind: Exclude<SnapshotKind, 'committed'>,
    key: SnapshotKey,
    parent: SnapshotKey | undefined,
    labels: Labels,
  ): SnapshotRecord;
  /** Errors: NotFound, AlreadyExists (name), FailedPrecondition (not active; rebase of one that has a parent). */
  commit(
    name: SnapshotKey,
    key: SnapshotKey,
    parent: SnapshotKey | undefined,
    labels: Labels,
  ): SnapshotRecord;
  /** Errors: NotFound, FailedPrecondition (has children). */
  remove(key: SnapshotKey): SnapshotRecord;
  setLabels(key: SnapshotKey, labels: Labels): SnapshotRecord;
  /** Of a committed snapshot, once it was measured. */
  usage(key: SnapshotKey): SnapshotUsage | undefined;
  /** Of the committed snapshot `id`; nothing happens when it is gone. */
  setUsage(id: number, usage: SnapshotUsage): void;
  list(): Iterable<SnapshotRecord>;
  /** Ids that are in use: every other directory is a leftover. */
  ids(): ReadonlySet<number>;
}

export interface SnapshotRecords {
  read<Result>(work: (records: SnapshotTransaction) => Result): Result;
  /** Durable when it resolves; what throws inside undoes the whole. */
  write<Result>(work: (records: SnapshotTransaction) => Result): Promise<Result>;
  /** What is wrong with the records' own file, in words; none when all is well. */
  problems(): string[];
}
