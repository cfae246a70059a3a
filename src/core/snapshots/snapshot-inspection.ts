/** What a snapshotter's back end can tell of its own state on disk, for checks. Remote back ends cannot. */
import type { Context } from '../../base/context.ts';
import type { SnapshotRecord } from './snapshot-records.ts';
import type { Snapshotter } from './snapshotter.ts';

export interface InspectedSnapshot {
  readonly record: SnapshotRecord;
  readonly directory: string;
  /** Directories of it that are not there, relative to `directory`; `.` for itself. */
  readonly missing: readonly string[];
}

export interface SnapshotterInspection {
  readonly snapshots: readonly InspectedSnapshot[];
  /** Directories without a record: the next clean-up deletes them. */
  readonly leftovers: readonly string[];
  /** Of the file with the records. */
  readonly databaseProblems: readonly string[];
}

export interface InspectableSnapshotter extends Snapshotter {
  inspect(): SnapshotterInspection;
  /**
   * Makes the missing directories of active snapshots and views anew, empty but for what is made from the parent.
   * Resolves with the snapshots that it could help.
   */
  restoreDirectories(ctx: Context): Promise<SnapshotRecord[]>;
}

export const isInspectable = (snapshotter: Snapshotter): snapshotter is InspectableSnapshotter =>
  'inspect' in snapshotter && 'restoreDirectories' in snapshotter;
