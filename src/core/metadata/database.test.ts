import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Database } from './database.ts';

const open = (): Database => new Database(':memory:', ['CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT']);
const count = (database: Database): number => database.read((sql) => sql.all('SELECT * FROM t').length);

describe('database', () => {
  test('writes of one turn are one transaction, and one that throws is undone alone', async () => {
    using database = open();
    const results = await Promise.allSettled([
      database.write((sql) => sql.run('INSERT INTO t VALUES (1)')),
      database.write((sql) => {
        sql.run('INSERT INTO t VALUES (2)');
        throw new Error('no');
      }),
      database.write((sql) => sql.run('INSERT INTO t VALUES (3)')),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(
      database.read((sql) => sql.all('SELECT x FROM t')).map(({ x }) => x),
      [1n, 3n],
    );
  });

  test('a read does not see a write that is only asked for', async () => {
    using database = open();
    const writing = database.write((sql) => sql.run('INSERT INTO t VALUES (1)'));
    assert.equal(count(database), 0);
    await writing;
    assert.equal(count(database), 1);
  });

  test('while one holds it, writes wait and reads go on', async () => {
    using database = open();
    const order: string[] = [];
    const release = Promise.withResolvers<void>();
    const held = database.exclusive(async (writeOnce) => {
      await release.promise;
      assert.equal(count(database), 0);
      writeOnce((sql) => sql.run('INSERT INTO t VALUES (1)'));
      order.push('holder');
    });
    const waiting = database
      .write((sql) => sql.run('INSERT INTO t VALUES (2)'))
      .then(() => order.push('writer'));
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.equal(count(database), 0);
    release.resolve();
    await Promise.all([held, waiting]);
    assert.deepEqual(order, ['holder', 'writer']);
    assert.equal(count(database), 2);
  });

  test('a holder that fails undoes its write and lets the others go on', async () => {
    using database = open();
    const failing = database.exclusive(async (writeOnce) => {
      writeOnce((sql) => {
        sql.run('INSERT INTO t VALUES (1)');
        throw new Error('no');
      });
    });
    const waiting = database.write((sql) => sql.run('INSERT INTO t VALUES (2)'));
    await assert.rejects(failing, /no/);
    await waiting;
    assert.equal(count(database), 1);
  });

  test('closing ends what was asked for first; later writes are refused', async () => {
    const database = open();
    const writing = database.write((sql) => sql.run('INSERT INTO t VALUES (1)'));
    database[Symbol.dispose]();
    await writing;
    await assert.rejects(
      database.write(() => 1),
      /closed/,
    );
  });

  test('a write in steps is seen when all of it is there, or never', async () => {
    using file = openFile();
    const { database } = file;
    await database.exclusive(async (_writeOnce, writeInSteps) => {
      let left = 5;
      await writeInSteps((sql) => {
        sql.run('INSERT INTO t VALUES (?)', left);
        assert.equal(count(database), 0);
        left -= 1;
        return left > 0;
      });
      assert.equal(count(database), 5);
    });
    const failing = database.exclusive((_writeOnce, writeInSteps) =>
      writeInSteps((sql) => {
        sql.run('DELETE FROM t');
        throw new Error('no');
      }),
    );
    const waiting = database.write((sql) => sql.run('INSERT INTO t VALUES (9)'));
    await assert.rejects(failing, /no/);
    await waiting;
    assert.equal(count(database), 6);
  });

  test('a snapshot stays as it was while others write', async () => {
    using file = openFile();
    const { database } = file;
    await database.write((sql) => sql.run('INSERT INTO t VALUES (1)'));
    await database.snapshot(async (reader) => {
      await database.write((sql) => sql.run('INSERT INTO t VALUES (2)'));
      assert.deepEqual(
        reader.read((sql) => sql.all('SELECT x FROM t')).map(({ x }) => x),
        [1n],
      );
      assert.throws(() => reader.read((sql) => sql.run('DELETE FROM t')), /readonly/);
    });
    assert.equal(count(database), 2);
  });
});

function openFile(): Disposable & { readonly database: Database } {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-database-'));
  const database = new Database(join(folder, 'db'), ['CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT']);
  return {
    database,
    [Symbol.dispose]: () => {
      database[Symbol.dispose]();
      rmSync(folder, { recursive: true });
    },
  };
}
