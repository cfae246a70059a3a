/**
 * Tables of config.toml as plugins read them: typed, with the file and key of a wrong value in the error, and with a
 * record of what was asked for, so that unknown keys can be named and the settings in force printed.
 *
 * Differs from containerd, which lets a plugin's unknown keys pass in silence.
 */
import { invalidArgument } from '../../base/errors.ts';
import { formatDurationMs, parseDurationMs } from './duration.ts';
import type { ConfigReader, ConfigTable } from './plugin.ts';

/** What smol-toml makes of a document. Dates and times are classes of its own, which no setting of ours takes. */
export type TomlValue = string | number | bigint | boolean | Date | TomlValue[] | TomlRecord;
export interface TomlRecord {
  [key: string]: TomlValue;
}

export interface ConfigTableSource {
  /** Dotted path of the table in the document, "" for the document itself. */
  readonly path: string;
  /** Names the file that set the key at a dotted path. */
  readonly fileOf: (path: string) => string;
}

/** A TOML table and not an array, a date or a scalar. */
export const isTable = (value: TomlValue | undefined): value is TomlRecord =>
  typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date);

/** Also a key `__proto__` is a key, and not the table's prototype. */
export function setOwn(table: TomlRecord, key: string, value: TomlValue): void {
  Object.defineProperty(table, key, { value, enumerable: true, configurable: true, writable: true });
}

/** `a.b`, with parts that are no bare keys quoted as TOML wants it. */
export const joinPath = (path: string, key: string): string => {
  const part = /^[A-Za-z0-9_-]+$/.test(key) ? key : `'${key}'`;
  return path === '' ? part : `${path}.${part}`;
};

export class TomlConfigTable implements ConfigTable {
  readonly path: string;
  readonly #values: TomlRecord;
  readonly #source: ConfigTableSource;
  readonly #effective = new Map<string, TomlValue>();
  readonly #children = new Map<string, readonly TomlConfigTable[]>();
  readonly #arrays = new Set<string>();

  constructor(values: TomlRecord, source: ConfigTableSource) {
    this.path = source.path;
    this.#values = values;
    this.#source = source;
  }

  string(key: string, fallback: string): string {
    return this.#scalar(key, fallback, 'a string', (value) =>
      typeof value === 'string' ? value : undefined,
    );
  }

  boolean(key: string, fallback: boolean): boolean {
    return this.#scalar(key, fallback, 'true or false', (value) =>
      typeof value === 'boolean' ? value : undefined,
    );
  }

  integer(key: string, fallback: number): number {
    return this.#scalar(key, fallback, 'an integer', (value) =>
      Number.isSafeInteger(value) ? (value as number) : undefined,
    );
  }

  number(key: string, fallback: number): number {
    return this.#scalar(key, fallback, 'a number', (value) =>
      typeof value === 'number' ? value : undefined,
    );
  }

  durationMs(key: string, fallbackMs: number): number {
    const text = this.#scalar(
      key,
      formatDurationMs(fallbackMs),
      'a duration such as "5s" or "100ms"',
      (value) => (typeof value === 'string' && parseDurationMs(value) !== undefined ? value : undefined),
    );
    return parseDurationMs(text) ?? fallbackMs;
  }

  strings(key: string, fallback: readonly string[]): readonly string[] {
    return this.#scalar<TomlValue[]>(key, [...fallback], 'a list of strings', (value) =>
      Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined,
    ) as string[];
  }

  table(key: string): TomlConfigTable {
    return this.#childrenOf(key, 'a table', (value) => (isTable(value) ? [value] : undefined), [
      {},
    ])[0] as TomlConfigTable;
  }

  tables(key: string): readonly TomlConfigTable[] {
    this.#arrays.add(key);
    return this.#childrenOf(
      key,
      'a list of tables',
      (value) => (Array.isArray(value) && value.every((item) => isTable(item)) ? value : undefined),
      [],
    );
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#values, key);
  }

  keys(): readonly string[] {
    return Object.keys(this.#values);
  }

  unreadKeys(): readonly string[] {
    const unread: string[] = [];
    for (const key of this.keys()) {
      const children = this.#children.get(key);
      if (children !== undefined)
        for (const child of children)
          unread.push(...child.unreadKeys().map((below) => `${joinPath('', key)}.${below}`));
      else if (!this.#effective.has(key)) unread.push(joinPath('', key));
    }
    return unread;
  }

  wrong(key: string, reason: string): Error {
    const path = joinPath(this.path, key);
    return invalidArgument(`${this.#source.fileOf(path)}: ${path}: ${reason}`);
  }

  /** Everything that was read, with the fallback where the document is silent. */
  effective(): TomlRecord {
    const record: TomlRecord = Object.fromEntries(this.#effective);
    for (const [key, children] of this.#children) {
      const tables = children.map((child) => child.effective());
      if (this.#arrays.has(key)) record[key] = tables;
      else if (tables[0] !== undefined) record[key] = tables[0];
    }
    return record;
  }

  #scalar<Value extends TomlValue>(
    key: string,
    fallback: Value,
    wanted: string,
    check: (value: TomlValue) => Value | undefined,
  ): Value {
    const given = Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
    const value = given === undefined ? fallback : check(given);
    if (value === undefined) throw this.#mistyped(key, wanted, given);
    this.#effective.set(key, value);
    return value;
  }

  #childrenOf(
    key: string,
    wanted: string,
    check: (value: TomlValue) => TomlRecord[] | undefined,
    fallback: TomlRecord[],
  ): readonly TomlConfigTable[] {
    const known = this.#children.get(key);
    if (known !== undefined) return known;
    const given = Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
    const tables = given === undefined ? fallback : check(given);
    if (tables === undefined) throw this.#mistyped(key, wanted, given);
    const path = joinPath(this.path, key);
    const children = tables.map((table) => new TomlConfigTable(table, { ...this.#source, path }));
    this.#children.set(key, children);
    return children;
  }

  #mistyped(key: string, wanted: string, given: TomlValue | undefined): Error {
    const shown = typeof given === 'string' ? JSON.stringify(given) : describe(given);
    return this.wrong(key, `must be ${wanted}, not ${shown}`);
  }
}

/** An empty table: reading from it gives the defaults. */
export const defaultsTable = (path: string): TomlConfigTable =>
  new TomlConfigTable({}, { path, fileOf: () => '(defaults)' });

/** Settings of a plugin that has none. */
export const noConfig: ConfigReader<undefined> = () => undefined;

function describe(value: TomlValue | undefined): string {
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Date) return 'a date';
  return typeof value === 'object' ? 'a table' : String(value);
}
