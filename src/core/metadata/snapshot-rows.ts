/** Rows of the snapshots table: finding, listing, and the intent that a commit leaves while it is under way. */
import { absent, type ContainerdError } from '../../base/errors.ts';
import type { Namespace, SnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import { mapField } from '../filters/filter.ts';
import type { SnapshotInfo, SnapshotKind } from '../snapshots/snapshotter.ts';
import { instant, labels, text } from './columns.ts';
import type { Row, Sql } from './database.ts';

export const snapshotRefLabel = 'containerd.io/snapshot.ref';
const backendLabelPrefix = 'containerd.io/snapshot/';

/** What the active snapshot's row will become. */
export interface CommitIntent {
  readonly name: SnapshotKey;
  readonly labels: Labels;
  readonly parent: SnapshotKey | undefined;
}

/** The only labels that reach a back end. */
export const labelsForBackend = (given: Labels): Labels =>
  Object.fromEntries(
    Object.entries(given).filter(([key]) => key === snapshotRefLabel || key.startsWith(backendLabelPrefix)),
  );

export const findSnapshot = (
  sql: Sql,
  namespace: Namespace,
  snapshotter: string,
  key: SnapshotKey,
): Row | undefined =>
  sql.get(
    'SELECT * FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?',
    namespace,
    snapshotter,
    key,
  );

/** In containerd's words, which its clients show; so is the next. */
export const absentSnapshot = (key: string): ContainerdError => absent(`snapshot ${key} does not exist`);

export const absentParent = (key: SnapshotKey): ContainerdError =>
  absent(`parent snapshot ${key} does not exist`);

/** Errors: NotFound. */
export function requireSnapshot(sql: Sql, namespace: Namespace, snapshotter: string, key: SnapshotKey): Row {
  const row = findSnapshot(sql, namespace, snapshotter, key);
  if (row === undefined) throw absentSnapshot(key);
  return row;
}

export const hasChildren = (sql: Sql, namespace: Namespace, snapshotter: string, key: SnapshotKey): boolean =>
  sql.get(
    'SELECT 1 FROM snapshots WHERE namespace = ? AND snapshotter = ? AND parent = ? LIMIT 1',
    namespace,
    snapshotter,
    key,
  ) !== undefined;

/** One page in key order; empty after the last. */
export const listSnapshots = (sql: Sql, namespace: Namespace, snapshotter: string, after: string): Row[] =>
  sql.all(
    'SELECT * FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key > ? ORDER BY key LIMIT 500',
    namespace,
    snapshotter,
    after,
  );

export const infoOf = (row: Row): SnapshotInfo => ({
  key: text(row, 'key') as SnapshotKey,
  parent: (row['parent'] as SnapshotKey | null) ?? undefined,
  kind: text(row, 'kind') as SnapshotKind,
  labels: labels(row),
  createdAt: instant(row, 'created_at'),
  updatedAt: instant(row, 'updated_at'),
});

/** Fields of filters: kind, name, parent, labels.*. */
export function infoField(info: SnapshotInfo, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'kind':
      return info.kind;
    case 'name':
      return info.key;
    case 'parent':
      return info.parent;
    case 'labels':
      return mapField(info.labels, path);
    default:
      return undefined;
  }
}

export function insertSnapshot(
  sql: Sql,
  namespace: Namespace,
  snapshotter: string,
  snapshot: {
    key: SnapshotKey;
    backendKey: SnapshotKey;
    parent: SnapshotKey | undefined;
    kind: SnapshotKind;
    labels: Labels;
  },
): void {
  const at = now();
  sql.run(
    `INSERT INTO snapshots
     (namespace, snapshotter, key, backend_key, parent, kind, labels, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    namespace,
    snapshotter,
    snapshot.key,
    snapshot.backendKey,
    snapshot.parent ?? null,
    snapshot.kind,
    JSON.stringify(snapshot.labels),
    at,
    at,
  );
}

/** The new parent stands in the row at once, so that nobody removes it meanwhile. */
export function setIntent(sql: Sql, row: Row, backendName: SnapshotKey, intent: CommitIntent): void {
  const rebased = intent.parent !== undefined && row['parent'] === null;
  sql.run(
    `UPDATE snapshots SET intent_key = ?, intent = ?, parent = ?
     WHERE namespace = ? AND snapshotter = ? AND key = ?`,
    backendName,
    JSON.stringify({ name: intent.name, labels: intent.labels, rebased }),
    intent.parent ?? null,
    text(row, 'namespace'),
    text(row, 'snapshotter'),
    text(row, 'key'),
  );
}

export function dropIntent(sql: Sql, namespace: Namespace, snapshotter: string, key: SnapshotKey): void {
  sql.run(
    `UPDATE snapshots SET intent_key = NULL, intent = NULL,
       parent = CASE WHEN json_extract(intent, '$.rebased') THEN NULL ELSE parent END
     WHERE namespace = ? AND snapshotter = ? AND key = ? AND intent_key IS NOT NULL`,
    namespace,
    snapshotter,
    key,
  );
}

/** Turns the active row into the committed one; leases that named the key name the committed snapshot. */
export function finishIntent(sql: Sql, row: Row): void {
  const [namespace, snapshotter, key] = [text(row, 'namespace'), text(row, 'snapshotter'), text(row, 'key')];
  const { name, labels: kept } = JSON.parse(text(row, 'intent')) as { name: string; labels: Labels };
  const at = now();
  sql.run(
    `UPDATE snapshots SET key = ?, backend_key = intent_key, kind = 'committed', labels = ?, created_at = ?,
       updated_at = ?, intent_key = NULL, intent = NULL
     WHERE namespace = ? AND snapshotter = ? AND key = ?`,
    name,
    JSON.stringify(kept),
    at,
    at,
    namespace,
    snapshotter,
    key,
  );
  sql.run(
    'UPDATE OR REPLACE lease_resources SET id = ? WHERE namespace = ? AND type = ? AND id = ?',
    name,
    namespace,
    `snapshots/${snapshotter}`,
    key,
  );
}

export const unfinishedIntents = (sql: Sql, snapshotter: string): Row[] =>
  sql.all('SELECT * FROM snapshots WHERE snapshotter = ? AND intent_key IS NOT NULL', snapshotter);
