/**
 * Reads config.toml and what it imports into one document of version 4. Scalars of a file read later win, lists are
 * appended, tables are merged; each file is carried to version 4 before that, so files of different versions mix.
 */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { invalidArgument, notFound } from '../../base/errors.ts';
import {
  isTable,
  joinPath,
  setOwn,
  TomlConfigTable,
  type TomlRecord,
} from '../../core/plugins/config-table.ts';
import { currentVersion, type Migrated, migrate } from './migrate.ts';

export const defaultConfigFile = '/etc/gantry/config.toml';

export interface LoadedDocument {
  readonly document: TomlRecord;
  /** In reading order; empty when there was no file. */
  readonly files: readonly string[];
  /** Of all files; the current version when there is none. */
  readonly oldestVersion: number;
  /** What the reader should tell the user about old files. */
  readonly notes: readonly string[];
  /** The document as a table that names files in its errors. */
  readonly table: TomlConfigTable;
}

/**
 * `file` undefined is the default file, which may be absent. Errors: NotFound, InvalidArgument with file, place and
 * reason.
 */
export function loadDocument(file: string | undefined): LoadedDocument {
  const document: TomlRecord = { version: currentVersion };
  const files: string[] = [];
  const notes: string[] = [];
  let oldestVersion = currentVersion;
  const origins = new Map<string, string>();
  const pending = [path.resolve(file ?? defaultConfigFile)];
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    if (files.includes(next)) continue;
    const text = readConfig(next, { optional: file === undefined && files.length === 0 });
    if (text === undefined) continue;
    files.push(next);
    const migrated = parseDocument(text, next);
    oldestVersion = Math.min(oldestVersion, migrated.from);
    if (migrated.from < currentVersion)
      notes.push(
        `${next} has version ${migrated.from}: 'gantryd config migrate' prints it as version ${currentVersion}`,
      );
    notes.push(...migrated.notes.map((note) => `${next}: ${note}`));
    pending.push(...importsOf(migrated.document, next));
    merge(document, migrated.document, { file: next, path: '', origins });
  }
  const fileOf = (key: string): string => {
    // A key set nowhere has the file of the nearest table above it.
    for (let at = key; at !== ''; at = at.slice(0, Math.max(at.lastIndexOf('.'), 0))) {
      const origin = origins.get(at);
      if (origin !== undefined) return origin;
    }
    return files[0] ?? defaultConfigFile;
  };
  return {
    document,
    files,
    oldestVersion,
    notes,
    table: new TomlConfigTable(document, { path: '', fileOf }),
  };
}

function readConfig(file: string, { optional }: { optional: boolean }): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOENT') throw invalidArgument(`${file}: cannot be read: ${String(error)}`, error);
    if (optional) return undefined;
    throw notFound('configuration file', file);
  }
}

/** One file by itself, in version 4. Errors: InvalidArgument with file, place and reason. */
export const parseDocument = (text: string, file: string): Migrated => migrate(parseToml(text, file), file);

function parseToml(text: string, file: string): TomlRecord {
  try {
    return parse(text) as TomlRecord;
  } catch (error) {
    if (error instanceof TomlError)
      throw invalidArgument(
        `${file}: line ${error.line}, column ${error.column}: ${firstLine(error.message)}`,
        error,
      );
    throw error;
  }
}

const firstLine = (text: string): string => text.slice(0, Math.max(text.indexOf('\n'), 0)) || text;

function importsOf(document: TomlRecord, file: string): string[] {
  const imports = document['imports'] ?? [];
  if (!Array.isArray(imports) || !imports.every((item) => typeof item === 'string'))
    throw invalidArgument(`${file}: imports: must be a list of strings`);
  return imports.flatMap((pattern) => {
    const absolute = path.resolve(path.dirname(file), pattern);
    return /[*?[]/.test(pattern) ? globSync(absolute).toSorted() : [absolute];
  });
}

/** Adds a file that is read later. `origins` is told which file set each key. */
export function merge(
  into: TomlRecord,
  from: TomlRecord,
  place: { file: string; path: string; origins: Map<string, string> },
): void {
  for (const [key, value] of Object.entries(from)) {
    const below = joinPath(place.path, key);
    const present = Object.hasOwn(into, key) ? into[key] : undefined;
    if (isTable(value) && (present === undefined || isTable(present))) {
      const table = present ?? {};
      merge(table, value, { ...place, path: below });
      setOwn(into, key, table);
      if (present === undefined) place.origins.set(below, place.file);
      continue;
    }
    place.origins.set(below, place.file);
    setOwn(into, key, Array.isArray(value) && Array.isArray(present) ? [...present, ...value] : value);
  }
}
