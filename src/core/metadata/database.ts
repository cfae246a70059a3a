/**
 * The one place that talks to SQLite. Reads are synchronous; writes are durable when their promise resolves.
 *
 * Writes asked for in one turn of the event loop share one transaction, each under a savepoint of its own: one that
 * throws is undone alone, and the others pay one fsync together. So a read never sees a write that is not durable.
 * WAL with synchronous=FULL: a commit survives a power cut. Integers come back as bigint, so that nanosecond times
 * keep all of their digits.
 *
 * The log has its blocks before it needs them: an fsync of a file that grows waits for the journal of the file system,
 * and so for what everybody else writes there.
 */
import assert from 'node:assert/strict';
import { closeSync, existsSync, fstatSync, openSync, statfsSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import { ContainerdError, failedPrecondition, internal, resourceExhausted } from '../../base/errors.ts';

export type Row = Readonly<Record<string, SQLOutputValue>>;

/** Statements inside one read or write. Valid only while that call runs. */
export interface Sql {
  run(statement: string, ...parameters: SQLInputValue[]): { changes: number };
  get(statement: string, ...parameters: SQLInputValue[]): Row | undefined;
  all(statement: string, ...parameters: SQLInputValue[]): Row[];
  /** Rows one by one, for tables that may be large. */
  iterate(statement: string, ...parameters: SQLInputValue[]): Iterable<Row>;
}

/** One step of the schema; its place in the list is its version. Steps are never changed once released. */
export type Migration = string;

/** Something that statements can read from: the database, or one state of it (Database.snapshot). */
export interface Reader {
  read<Result>(work: (sql: Sql) => Result): Result;
}

/** What `exclusive` gives: a write at once, or one transaction over many turns. */
export type WriteOnce = <Value>(write: (sql: Sql) => Value) => Value;
/** Calls `step` until it returns false, other things between, and makes all of it durable together. */
export type WriteInSteps = (step: (sql: Sql) => boolean) => Promise<void>;

interface PendingWrite {
  readonly work: (sql: Sql) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

type Outcome = { readonly value: unknown } | { readonly error: unknown };

export class Database implements Reader, Disposable {
  readonly #path: string;
  readonly #connection: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #sql: Sql;
  #pending: PendingWrite[] = [];
  #exclusive = false;
  #closed = false;

  /** `path` is a file, or ":memory:". Errors: FailedPrecondition when a newer Gantry made it. */
  constructor(path: string, migrations: readonly Migration[]) {
    this.#path = path;
    this.#connection = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    this.#connection.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;',
    );
    this.#sql = sqlOf(this.#connection, this.#statements);
    this.#migrate(path, migrations);
    reserveLog(path);
  }

  /** Must not return an unfinished `iterate`. */
  read<Result>(work: (sql: Sql) => Result): Result {
    return work(this.#sql);
  }

  /** `work` runs once, synchronously, soon. Rejects with what it throws; then nothing of it is kept. */
  write<Result>(work: (sql: Sql) => Result): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      if (this.#closed) {
        reject(internal('metadata database is closed'));
        return;
      }
      if (this.#pending.length === 0) setImmediate(() => this.#flush());
      this.#pending.push({ work, resolve: resolve as (value: unknown) => void, reject });
    });
  }

  /**
   * Holds back everybody else's writes while `work` runs, so that what it reads over many turns is one state and what
   * it writes at the end (once, durable at once) belongs to that state. Reads of others go on. For the collector only:
   * one at a time.
   */
  async exclusive<Result>(
    work: (writeOnce: WriteOnce, writeInSteps: WriteInSteps) => Promise<Result>,
  ): Promise<Result> {
    assert(!this.#exclusive, 'the database is already held');
    if (this.#pending.length > 0) this.#flush();
    this.#exclusive = true;
    try {
      return await work(
        (write) => this.#writeNow(write),
        (step) => this.#writeInSteps(step),
      );
    } finally {
      this.#exclusive = false;
      if (!this.#closed) this.#flush();
    }
  }

  /**
   * Runs `work` over the state of now, which stays as it is while others write. A database in memory has no second
   * connection, so there `work` sees what is written meanwhile. For long reads: the log cannot begin anew before its end.
   */
  async snapshot<Result>(work: (reader: Reader) => Promise<Result>): Promise<Result> {
    if (this.#path === inMemory) return work(this);
    using connection = new DatabaseSync(this.#path, { readOnly: true });
    connection.exec('BEGIN');
    const sql = sqlOf(connection, new Map());
    // A transaction begins with its first read.
    sql.get('SELECT 1 FROM sqlite_schema LIMIT 1');
    return await work({ read: (read) => read(sql) });
  }

  /** What SQLite finds wrong with the file and with references between rows; none when all is well. Reads all of it. */
  problems(): string[] {
    const damage = this.#sql
      .all('PRAGMA integrity_check')
      .map((row) => String(row['integrity_check']))
      .filter((line) => line !== 'ok');
    const dangling = this.#sql
      .all('PRAGMA foreign_key_check')
      .map(
        (row) => `a row of ${String(row['table'])} refers to one of ${String(row['parent'])} that is gone`,
      );
    return [...damage, ...dangling];
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#exclusive = false;
    this.#flush();
    this.#closed = true;
    this.#statements.clear();
    this.#connection.close();
  }

  #writeNow<Value>(write: (sql: Sql) => Value): Value {
    if (this.#closed) throw internal('metadata database is closed');
    this.#connection.exec('BEGIN IMMEDIATE');
    try {
      const value = write(this.#sql);
      this.#connection.exec('COMMIT');
      return value;
    } catch (error) {
      if (this.#connection.isTransaction) this.#connection.exec('ROLLBACK');
      throw databaseError(error);
    }
  }

  /** On a connection of its own, so that reads beside it see nothing of it before it is durable. */
  async #writeInSteps(step: (sql: Sql) => boolean): Promise<void> {
    if (this.#path === inMemory) {
      this.#writeNow((sql) => {
        while (step(sql));
      });
      return;
    }
    using connection = new DatabaseSync(this.#path, { enableForeignKeyConstraints: true });
    // The next write begins the log anew: not in the same moment as this one is synced.
    connection.exec('PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 0');
    const sql = sqlOf(connection, new Map());
    try {
      connection.exec('BEGIN IMMEDIATE');
      while (step(sql)) await new Promise((resolve) => setImmediate(resolve));
      await syncLog(this.#path);
      if (this.#closed) throw internal('metadata database is closed');
      connection.exec('COMMIT');
    } catch (error) {
      if (connection.isTransaction) connection.exec('ROLLBACK');
      throw databaseError(error);
    }
  }

  #flush(): void {
    if (this.#exclusive) return;
    const writes = this.#pending;
    this.#pending = [];
    if (writes.length === 0) return;
    const outcomes: Outcome[] = [];
    try {
      this.#connection.exec('BEGIN IMMEDIATE');
      for (const { work } of writes) outcomes.push(this.#attempt(work));
      this.#connection.exec('COMMIT');
    } catch (error) {
      if (this.#connection.isTransaction) this.#connection.exec('ROLLBACK');
      const reason = databaseError(error);
      for (const { reject } of writes) reject(reason);
      return;
    }
    for (const [index, write] of writes.entries()) {
      const outcome = outcomes[index] as Outcome;
      if ('error' in outcome) write.reject(outcome.error);
      else write.resolve(outcome.value);
    }
  }

  #attempt(work: (sql: Sql) => unknown): Outcome {
    this.#connection.exec('SAVEPOINT one');
    try {
      const value = work(this.#sql);
      this.#connection.exec('RELEASE one');
      return { value };
    } catch (error) {
      // A full disk may have ended the whole transaction: then the outer COMMIT says so to all.
      if (this.#connection.isTransaction) this.#connection.exec('ROLLBACK TO one; RELEASE one');
      return { error: databaseError(error) };
    }
  }

  #migrate(path: string, migrations: readonly Migration[]): void {
    const version = Number(this.#sql.get('PRAGMA user_version')?.['user_version'] ?? 0);
    if (version > migrations.length)
      throw failedPrecondition(
        `${path} has schema version ${version}, this Gantry knows ${migrations.length}: start the newer Gantry or restore a backup`,
      );
    for (const [index, step] of migrations.entries()) {
      if (index < version) continue;
      this.#connection.exec(`BEGIN IMMEDIATE; ${step}; PRAGMA user_version = ${index + 1}; COMMIT`);
    }
  }
}

const inMemory = ':memory:';

function sqlOf(connection: DatabaseSync, statements: Map<string, StatementSync>): Sql {
  const statement = (text: string): StatementSync => {
    let prepared = statements.get(text);
    if (prepared === undefined) {
      prepared = connection.prepare(text);
      prepared.setReadBigInts(true);
      statements.set(text, prepared);
    }
    return prepared;
  };
  return {
    run: (text, ...parameters) => ({ changes: Number(statement(text).run(...parameters).changes) }),
    get: (text, ...parameters) => statement(text).get(...parameters),
    all: (text, ...parameters) => statement(text).all(...parameters),
    iterate: (text, ...parameters) => statement(text).iterate(...parameters),
  };
}

/** What a long transaction has written so far goes to disk off this thread, so that its commit has little to wait for. */
async function syncLog(path: string): Promise<void> {
  await using log = await open(`${path}-wal`, 'r+');
  await log.datasync();
}

/** Where SQLite begins the log anew by itself: 1000 pages and their headers. */
const logBytes = 4 * 1024 * 1024;
/** A disk that has no more than this many logs left is not given to one that may never grow so far. */
const leastFreeLogs = 64;

/**
 * Zeros behind the end of the log: SQLite takes them for the end, because no frame is all zeros, and writes over them
 * (sqlite.org, "WAL-mode File Format"). Locks are not lost by the close: SQLite keeps none on the log.
 */
function reserveLog(path: string): void {
  const log = `${path}-wal`;
  if (!existsSync(log)) return;
  const { bavail, bsize } = statfsSync(dirname(log));
  if (bavail * bsize < leastFreeLogs * logBytes) return;
  const file = openSync(log, 'r+');
  try {
    const { size } = fstatSync(file);
    if (size < logBytes) writeSync(file, Buffer.alloc(logBytes - size), 0, logBytes - size, size);
  } catch {
    // A quota, for one: then the log grows as it goes.
  } finally {
    closeSync(file);
  }
}

const sqliteFull = 13;

function databaseError(thrown: unknown): unknown {
  if (thrown instanceof ContainerdError || !(thrown instanceof Error)) return thrown;
  if (!('errcode' in thrown)) return thrown;
  return thrown.errcode === sqliteFull
    ? resourceExhausted('metadata database: no space left on device', thrown)
    : internal(`metadata database: ${thrown.message}`, thrown);
}
