/**
 * The database as a check reads it: rows with the names that back ends know them by, over all namespaces, and the few
 * changes by which a check drops what cannot be saved.
 */
import type { Digest } from '../../base/digest.ts';
import type { IngestRef, Namespace, SnapshotKey } from '../../base/identifiers.ts';
import { now } from '../../base/time.ts';
import type { SnapshotKind } from '../snapshots/snapshotter.ts';
import { integer, labels, text, textOrUndefined } from './columns.ts';
import type { Row, Sql } from './database.ts';
import { leaveLeases } from './store-base.ts';

export interface ContentRow {
  readonly namespace: Namespace;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface IngestRow {
  readonly namespace: Namespace;
  readonly ref: IngestRef;
  readonly backendRef: IngestRef;
}

export interface SnapshotRow {
  readonly namespace: Namespace;
  readonly snapshotter: string;
  readonly key: SnapshotKey;
  readonly backendKey: SnapshotKey;
  readonly parent: SnapshotKey | undefined;
  readonly kind: SnapshotKind;
}

const contentOf = (row: Row): ContentRow => ({
  namespace: text(row, 'namespace') as Namespace,
  digest: text(row, 'digest') as Digest,
  sizeBytes: integer(row, 'size'),
  labels: labels(row),
});

/** In the order of digests, so that the records of one blob stand together; a page after `after`. */
export const contentDigests = (sql: Sql, after: string, limit: number): Digest[] =>
  sql
    .all('SELECT DISTINCT digest FROM content WHERE digest > ? ORDER BY digest LIMIT ?', after, limit)
    .map((row) => text(row, 'digest') as Digest);

export const contentRows = (sql: Sql, digest: Digest): ContentRow[] =>
  sql.all('SELECT * FROM content WHERE digest = ? ORDER BY namespace', digest).map(contentOf);

/** A record has it, or an ingest that needs only to be committed. */
export const isContentListed = (sql: Sql, digest: Digest): boolean =>
  (sql.get('SELECT 1 FROM content WHERE digest = ? LIMIT 1', digest) ??
    sql.get('SELECT 1 FROM ingests WHERE expected = ? LIMIT 1', digest)) !== undefined;

export const setContentSize = (sql: Sql, digest: Digest, sizeBytes: number): void => {
  sql.run('UPDATE content SET size = ?, updated_at = ? WHERE digest = ?', sizeBytes, now(), digest);
};

export function dropContent(sql: Sql, digest: Digest): void {
  for (const { namespace } of contentRows(sql, digest)) leaveLeases(sql, namespace, 'content', digest);
  sql.run('DELETE FROM content WHERE digest = ?', digest);
}

export const ingestRows = (sql: Sql): IngestRow[] =>
  sql.all('SELECT * FROM ingests ORDER BY namespace, ref').map((row) => ({
    namespace: text(row, 'namespace') as Namespace,
    ref: text(row, 'ref') as IngestRef,
    backendRef: text(row, 'backend_ref') as IngestRef,
  }));

export const isIngestListed = (sql: Sql, backendRef: IngestRef): boolean =>
  sql.get('SELECT 1 FROM ingests WHERE backend_ref = ?', backendRef) !== undefined;

/** All snapshotters', loaded or not. */
export const snapshotRows = (sql: Sql): SnapshotRow[] =>
  sql.all('SELECT * FROM snapshots ORDER BY namespace, snapshotter, key').map((row) => ({
    namespace: text(row, 'namespace') as Namespace,
    snapshotter: text(row, 'snapshotter'),
    key: text(row, 'key') as SnapshotKey,
    backendKey: text(row, 'backend_key') as SnapshotKey,
    parent: textOrUndefined(row, 'parent') as SnapshotKey | undefined,
    kind: text(row, 'kind') as SnapshotKind,
  }));

/** Leases let go of it too. What is on disk is then nobody's. */
export function dropSnapshot(sql: Sql, { namespace, snapshotter, key }: SnapshotRow): void {
  sql.run(
    'DELETE FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?',
    namespace,
    snapshotter,
    key,
  );
  leaveLeases(sql, namespace, `snapshots/${snapshotter}`, key);
}
