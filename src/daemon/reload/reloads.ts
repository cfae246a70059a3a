/**
 * SIGHUP: settings that can change while the daemon runs. The whole configuration is read again and checked as at a
 * start; when anything is wrong with it, nothing changes. Then what can change does, and what cannot is named.
 *
 * Differs from containerd, which a SIGHUP kills (its issue 13285).
 */
import { ContainerdError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { isTable, joinPath, type TomlRecord, type TomlValue } from '../../core/plugins/config-table.ts';
import type { Plugin } from '../../core/plugins/plugin.ts';
import type { Configuration } from '../config/daemon-config.ts';

interface Reloadable {
  readonly keys: readonly string[];
  readonly apply: (next: Configuration) => void;
}

export class Reloads {
  readonly #log: Logger;
  readonly #read: () => Configuration;
  readonly #reloadables: Reloadable[] = [];
  #current: TomlRecord | undefined;

  /** `read` makes the configuration anew from its files and the command line. */
  constructor({ log, read }: { readonly log: Logger; readonly read: () => Configuration }) {
    this.#log = log;
    this.#read = read;
  }

  /** `apply` is called when one of `keys` (dotted paths, or a table with all below it) has changed. */
  on(keys: readonly string[], apply: (next: Configuration) => void): void {
    this.#reloadables.push({ keys, apply });
  }

  /** What is in force: told once, when all plugins have read theirs. */
  started(configuration: Configuration): void {
    this.#current = configuration.effective();
  }

  /** Never throws: what went wrong is logged, and the old settings stay. `plugins` are those of the start. */
  reload(plugins: readonly Plugin[]): void {
    const before = this.#current;
    if (before === undefined) return;
    try {
      const next = this.#read();
      for (const plugin of plugins) plugin.config(next.tableOf(plugin));
      const after = next.effective();
      const changed = changedPaths(before, after);
      const applied = changed.filter((path) => this.#covering(path) !== undefined);
      const needRestart = changed.filter((path) => !applied.includes(path));
      for (const one of new Set(applied.map((path) => this.#covering(path)))) one?.apply(next);
      // What needs a restart stays different from what is in force, and is named again at the next reload.
      this.#current = merged(before, after, applied);
      for (const warning of next.warnings()) this.#log.warn({}, warning);
      this.#log.info({ files: next.files, applied, needRestart }, 'configuration reloaded');
      if (needRestart.length > 0)
        this.#log.warn({ needRestart }, 'changed settings that take effect at the next start only');
    } catch (error) {
      const { message } = ContainerdError.from(error);
      this.#log.error({ error }, `configuration not reloaded, all settings stay: ${message}`);
    }
  }

  #covering(path: string): Reloadable | undefined {
    return this.#reloadables.find(({ keys }) =>
      keys.some((key) => path === key || path.startsWith(`${key}.`)),
    );
  }
}

/** Dotted paths whose values differ, in order of their names. */
export function changedPaths(before: TomlRecord, after: TomlRecord): string[] {
  const [old, now] = [leaves(before), leaves(after)];
  const paths = new Set([...old.keys(), ...now.keys()]);
  return [...paths].filter((path) => old.get(path) !== now.get(path)).toSorted();
}

function leaves(record: TomlRecord): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (table: TomlRecord, path: string): void => {
    for (const [key, value] of Object.entries(table)) {
      const below = joinPath(path, key);
      if (isTable(value)) walk(value, below);
      else found.set(below, JSON.stringify(value, bigintsAsText));
    }
  };
  walk(record, '');
  return found;
}

const bigintsAsText = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;

/** `before` with the values of `after` at `paths`. */
function merged(before: TomlRecord, after: TomlRecord, paths: readonly string[]): TomlRecord {
  const take = (old: TomlRecord, now: TomlRecord, path: string): TomlRecord => {
    const result: TomlRecord = {};
    for (const key of new Set([...Object.keys(old), ...Object.keys(now)])) {
      const below = joinPath(path, key);
      const [was, is] = [valueAt(old, key), valueAt(now, key)];
      const isApplied = paths.some((one) => one === below || one.startsWith(`${below}.`));
      const value =
        isTable(was) || isTable(is) ? take(tableOr(was), tableOr(is), below) : isApplied ? is : was;
      if (value !== undefined) result[key] = value;
    }
    return result;
  };
  return take(before, after, '');
}

const valueAt = (table: TomlRecord, key: string): TomlValue | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;
const tableOr = (value: TomlValue | undefined): TomlRecord => (isTable(value) ? value : {});
