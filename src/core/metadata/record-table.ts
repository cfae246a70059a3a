/**
 * What the tables of containers and sandboxes share: rows with an id in a namespace, labels and extensions, which are
 * found, listed by filters, changed by a mask and dropped.
 */
import type { SQLInputValue } from 'node:sqlite';
import type { AnyValue } from '../../base/any-value.ts';
import { applyMask, type MaskedField } from '../../base/field-mask.ts';
import type { Namespace } from '../../base/identifiers.ts';
import { type Labels, labelOf, withLabel } from '../../base/labels.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
import { type Extensions, maskExtension } from './columns.ts';
import type { Row, Sql } from './database.ts';

export interface RecordTableOptions<Item> {
  readonly table: string;
  readonly read: (row: Row) => Item;
  /** What filters find beside the id and the labels. */
  readonly field?: (item: Item, path: readonly string[]) => string | undefined;
}

export class RecordTable<Item extends { readonly id: string; readonly labels: Labels }> {
  readonly #table: string;
  readonly #read: (row: Row) => Item;
  readonly #field: RecordTableOptions<Item>['field'];

  constructor({ table, read, field }: RecordTableOptions<Item>) {
    this.#table = table;
    this.#read = read;
    this.#field = field;
  }

  find(sql: Sql, namespace: Namespace, id: string): Item | undefined {
    const row = sql.get(`SELECT * FROM ${this.#table} WHERE namespace = ? AND id = ?`, namespace, id);
    return row === undefined ? undefined : this.#read(row);
  }

  /** In the order of ids. Errors: InvalidArgument for a filter that does not parse. */
  list(sql: Sql, namespace: Namespace, filters: readonly string[]): Item[] {
    const passes = parseFilters(filters);
    const items: Item[] = [];
    for (const row of sql.iterate(
      `SELECT * FROM ${this.#table} WHERE namespace = ? ORDER BY id`,
      namespace,
    )) {
      const item = this.#read(row);
      if (passes((path) => this.#fieldOf(item, path))) items.push(item);
    }
    return items;
  }

  /** Makes the row or puts another in its place. */
  put(sql: Sql, columns: Readonly<Record<string, SQLInputValue>>): void {
    const names = Object.keys(columns);
    sql.run(
      `INSERT OR REPLACE INTO ${this.#table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
      ...Object.values(columns),
    );
  }

  /** Whether it was there. */
  drop(sql: Sql, namespace: Namespace, id: string): boolean {
    const { changes } = sql.run(`DELETE FROM ${this.#table} WHERE namespace = ? AND id = ?`, namespace, id);
    return changes > 0;
  }

  #fieldOf(item: Item, path: readonly string[]): string | undefined {
    if (path[0] === 'id') return item.id;
    return path[0] === 'labels' ? mapField(item.labels, path) : this.#field?.(item, path);
  }
}

interface Masked {
  readonly labels: Labels;
  readonly extensions: Extensions;
}

/**
 * `current` with what `paths` name taken from `given`: labels and extensions whole or by entry, and whatever the
 * paths in `others` stand for. `what` tells the object in errors. Errors: InvalidArgument.
 */
export function maskRecord<Item extends Masked>(
  what: string,
  current: Item,
  given: { readonly labels: Labels; readonly extensions: Readonly<Record<string, AnyValue>> },
  paths: readonly string[],
  others: Readonly<Record<string, Partial<Item>>>,
): Item {
  let next = current;
  const set = (change: Partial<Item> | Partial<Masked>): void => {
    next = { ...next, ...change };
  };
  const whole = Object.entries(others).map(([path, change]): [string, MaskedField] => [
    path,
    { whole: () => set(change) },
  ]);
  applyMask(what, paths, {
    ...Object.fromEntries(whole),
    labels: {
      whole: () => set({ labels: given.labels }),
      entry: (key) => set({ labels: withLabel(next.labels, key, labelOf(given.labels, key) ?? '') }),
    },
    extensions: {
      whole: () => set({ extensions: given.extensions }),
      entry: (key) => set({ extensions: maskExtension(next.extensions, given.extensions, key) }),
    },
  });
  return next;
}
