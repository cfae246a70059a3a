/**
 * The records of one snapshotter back end, in a database file of its own beside its directories: the back ends start
 * before the metadata store, which needs them.
 */
import { alreadyExists, failedPrecondition, invalidArgument, notFound } from '../../base/errors.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { type Instant, now } from '../../base/time.ts';
import type { SnapshotRecord, SnapshotRecords, SnapshotTransaction } from '../snapshots/snapshot-records.ts';
import type { SnapshotKind, SnapshotUsage } from '../snapshots/snapshotter.ts';
import { instant, integer, labels, text } from './columns.ts';
import { Database, type Row, type Sql } from './database.ts';
import { snapshotRecordMigrations } from './schema.ts';

export class SnapshotRecordStore implements SnapshotRecords, Disposable {
  readonly #database: Database;

  /** `path` is a file, or ":memory:". Errors: FailedPrecondition when a newer Gantry made it. */
  constructor(path: string) {
    this.#database = new Database(path, snapshotRecordMigrations);
  }

  read<Result>(work: (records: SnapshotTransaction) => Result): Result {
    return this.#database.read((sql) => work(new RecordTransaction(sql)));
  }

  write<Result>(work: (records: SnapshotTransaction) => Result): Promise<Result> {
    return this.#database.write((sql) => work(new RecordTransaction(sql)));
  }

  problems(): string[] {
    return this.#database.problems();
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
  }
}

const columns = 's.*, p.key AS parent_key';
const from = 'snapshots s LEFT JOIN snapshots p ON p.id = s.parent_id';

class RecordTransaction implements SnapshotTransaction {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  get(key: SnapshotKey): SnapshotRecord | undefined {
    const row = this.#row(key);
    return row === undefined ? undefined : recordOf(row, this.#ancestors(row));
  }

  create(
    kind: Exclude<SnapshotKind, 'committed'>,
    key: SnapshotKey,
    parent: SnapshotKey | undefined,
    given: Labels,
  ): SnapshotRecord {
    if (this.#row(key) !== undefined) throw alreadyExists('snapshot', key);
    const parentId = parent === undefined ? null : integer(this.#committed(parent), 'id');
    const at = now();
    this.#sql.run(
      'INSERT INTO snapshots (key, kind, parent_id, labels, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)',
      key,
      kind,
      parentId,
      JSON.stringify(given),
      at,
      at,
    );
    return this.#require(key);
  }

  commit(
    name: SnapshotKey,
    key: SnapshotKey,
    parent: SnapshotKey | undefined,
    given: Labels,
  ): SnapshotRecord {
    const row = this.#requireRow(key);
    if (row['kind'] !== 'active') throw failedPrecondition(`snapshot ${JSON.stringify(key)} is not active`);
    if (this.#row(name) !== undefined) throw alreadyExists('snapshot', name);
    if (parent !== undefined && row['parent_key'] !== null && row['parent_key'] !== parent)
      throw failedPrecondition(`cannot rebase snapshot ${JSON.stringify(key)}: it has a parent`);
    const parentId =
      parent === undefined ? (row['parent_id'] ?? null) : integer(this.#committed(parent), 'id');
    const at = now();
    this.#sql.run(
      `UPDATE snapshots SET key = ?, kind = 'committed', parent_id = ?, labels = ?, created_at = ?, updated_at = ?
       WHERE id = ?`,
      name,
      parentId,
      JSON.stringify(given),
      at,
      at,
      row['id'] as bigint,
    );
    return this.#require(name);
  }

  remove(key: SnapshotKey): SnapshotRecord {
    const record = this.#require(key);
    if (this.#sql.get('SELECT 1 FROM snapshots WHERE parent_id = ? LIMIT 1', record.id) !== undefined)
      throw failedPrecondition(`cannot remove snapshot ${JSON.stringify(key)} with child`);
    this.#sql.run('DELETE FROM snapshots WHERE id = ?', record.id);
    return record;
  }

  setLabels(key: SnapshotKey, given: Labels): SnapshotRecord {
    const row = this.#requireRow(key);
    this.#sql.run(
      'UPDATE snapshots SET labels = ?, updated_at = ? WHERE id = ?',
      JSON.stringify(given),
      now(),
      row['id'] as bigint,
    );
    return this.#require(key);
  }

  usage(key: SnapshotKey): SnapshotUsage | undefined {
    const row = this.#requireRow(key);
    return row['size'] === null
      ? undefined
      : { sizeBytes: integer(row, 'size'), inodes: integer(row, 'inodes') };
  }

  setUsage(id: number, { sizeBytes, inodes }: SnapshotUsage): void {
    this.#sql.run(
      `UPDATE snapshots SET size = ?, inodes = ? WHERE id = ? AND kind = 'committed'`,
      sizeBytes,
      inodes,
      id,
    );
  }

  *list(): Generator<SnapshotRecord> {
    const rows = this.#sql.all(`SELECT ${columns} FROM ${from} ORDER BY s.id`);
    const parents = new Map(rows.map((row) => [integer(row, 'id'), parentIdOf(row)]));
    for (const row of rows) {
      const ancestors: number[] = [];
      for (let id = parentIdOf(row); id !== undefined; id = parents.get(id)) ancestors.push(id);
      yield recordOf(row, ancestors);
    }
  }

  ids(): ReadonlySet<number> {
    return new Set(this.#sql.all('SELECT id FROM snapshots').map((row) => integer(row, 'id')));
  }

  #row(key: SnapshotKey): Row | undefined {
    return this.#sql.get(`SELECT ${columns} FROM ${from} WHERE s.key = ?`, key);
  }

  #requireRow(key: SnapshotKey): Row {
    const row = this.#row(key);
    if (row === undefined) throw notFound('snapshot', key);
    return row;
  }

  #require(key: SnapshotKey): SnapshotRecord {
    const row = this.#requireRow(key);
    return recordOf(row, this.#ancestors(row));
  }

  #committed(parent: SnapshotKey): Row {
    const row = this.#row(parent);
    if (row === undefined) throw notFound('parent snapshot', parent);
    if (row['kind'] !== 'committed')
      throw invalidArgument(`parent snapshot ${JSON.stringify(parent)} is not committed`);
    return row;
  }

  #ancestors(row: Row): number[] {
    return this.#sql
      .all(
        `WITH RECURSIVE chain (id, depth) AS (VALUES (?, 0) UNION ALL
           SELECT s.parent_id, depth + 1 FROM snapshots s JOIN chain ON s.id = chain.id)
         SELECT id FROM chain WHERE id IS NOT NULL ORDER BY depth`,
        row['parent_id'] as bigint | null,
      )
      .map((ancestor) => integer(ancestor, 'id'));
  }
}

const parentIdOf = (row: Row): number | undefined =>
  row['parent_id'] === null ? undefined : integer(row, 'parent_id');

const recordOf = (row: Row, parentIds: readonly number[]): SnapshotRecord => ({
  id: integer(row, 'id'),
  key: text(row, 'key') as SnapshotKey,
  parent: (row['parent_key'] as SnapshotKey | null) ?? undefined,
  parentIds,
  kind: text(row, 'kind') as SnapshotKind,
  labels: labels(row),
  createdAt: instant(row, 'created_at') satisfies Instant,
  updatedAt: instant(row, 'updated_at'),
});
