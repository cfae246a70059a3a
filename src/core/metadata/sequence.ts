/** Numbers that are never given twice, across restarts. Taken in blocks, so that few of them cost a sync. */
import { integer } from './columns.ts';
import type { Database, Sql } from './database.ts';

const block = 1000;

export class Sequence {
  readonly #database: Database;
  readonly #name: string;
  #next = 0;
  #end = 0;
  #reserving: Promise<void> | undefined;

  constructor(database: Database, name: string) {
    this.#database = database;
    this.#name = name;
  }

  async next(): Promise<number> {
    while (this.#next >= this.#end) {
      this.#reserving ??= this.#reserve();
      await this.#reserving;
    }
    this.#next += 1;
    return this.#next - 1;
  }

  async #reserve(): Promise<void> {
    try {
      this.#next = await this.#database.write((sql) => takeNumbers(sql, this.#name, block));
      this.#end = this.#next + block;
    } finally {
      this.#reserving = undefined;
    }
  }
}

/** The first of `count` numbers, within a write. */
export function takeNumbers(sql: Sql, name: string, count: number): number {
  const row = sql.get(
    `INSERT INTO sequences (name, next) VALUES (?, ?)
     ON CONFLICT (name) DO UPDATE SET next = next + excluded.next - 1 RETURNING next`,
    name,
    count + 1,
  );
  return integer(row ?? {}, 'next') - count;
}
