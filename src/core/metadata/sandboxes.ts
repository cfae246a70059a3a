/** Sandbox records in the database. */
import type { NamespacedContext } from '../../base/context.ts';
import { alreadyExists, invalidArgument, notFound } from '../../base/errors.ts';
import { applyMask } from '../../base/field-mask.ts';
import type { SandboxId } from '../../base/identifiers.ts';
import { checkLabels, labelOf, withLabel, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
import type { NewSandbox, Sandbox, SandboxStore } from '../sandboxes/sandbox-store.ts';
import {
  any,
  anyColumns,
  extensions,
  extensionsColumn,
  instant,
  labels,
  maskExtension,
  text,
} from './columns.ts';
import type { Row, Sql } from './database.ts';
import { ensureNamespace, type StoreDependencies } from './store-base.ts';

export class MetadataSandboxStore implements SandboxStore {
  readonly #dependencies: StoreDependencies;

  constructor(dependencies: StoreDependencies) {
    this.#dependencies = dependencies;
  }

  async get(ctx: NamespacedContext, id: SandboxId): Promise<Sandbox> {
    return this.#dependencies.database.read((sql) => require(sql, ctx, id));
  }

  async list(ctx: NamespacedContext, filters: readonly string[]): Promise<Sandbox[]> {
    const passes = parseFilters(filters);
    return this.#dependencies.database
      .read((sql) => sql.all('SELECT * FROM sandboxes WHERE namespace = ? ORDER BY id', ctx.namespace))
      .map(sandboxOf)
      .filter((sandbox) => passes((path) => field(sandbox, path)));
  }

  async create(ctx: NamespacedContext, sandbox: NewSandbox): Promise<Sandbox> {
    const at = now();
    const created = checked({ ...sandbox, createdAt: at, updatedAt: at });
    await this.#dependencies.database.write((sql) => {
      if (find(sql, ctx, sandbox.id) !== undefined) throw alreadyExists('sandbox', sandbox.id);
      ensureNamespace(sql, ctx.namespace);
      put(sql, ctx, created);
    });
    this.#dependencies.changes.written();
    return created;
  }

  async update(ctx: NamespacedContext, sandbox: NewSandbox, paths: readonly string[]): Promise<Sandbox> {
    const updated = await this.#dependencies.database.write((sql) => {
      const current = require(sql, ctx, sandbox.id);
      const next = checked({ ...masked(current, sandbox, paths), updatedAt: now() });
      put(sql, ctx, next);
      return next;
    });
    this.#dependencies.changes.deleted();
    return updated;
  }

  async delete(ctx: NamespacedContext, id: SandboxId): Promise<void> {
    await this.#dependencies.database.write((sql) => {
      require(sql, ctx, id);
      sql.run('DELETE FROM sandboxes WHERE namespace = ? AND id = ?', ctx.namespace, id);
    });
    this.#dependencies.changes.deleted();
  }
}

const find = (sql: Sql, ctx: NamespacedContext, id: SandboxId): Row | undefined =>
  sql.get('SELECT * FROM sandboxes WHERE namespace = ? AND id = ?', ctx.namespace, id);

function require(sql: Sql, ctx: NamespacedContext, id: SandboxId): Sandbox {
  const row = find(sql, ctx, id);
  if (row === undefined) throw notFound('sandbox', id);
  return sandboxOf(row);
}

const sandboxOf = (row: Row): Sandbox => ({
  id: text(row, 'id') as SandboxId,
  runtime: { name: text(row, 'runtime'), options: any(row, 'options') },
  spec: any(row, 'spec'),
  labels: labels(row),
  extensions: extensions(row),
  sandboxer: text(row, 'sandboxer'),
  createdAt: instant(row, 'created_at'),
  updatedAt: instant(row, 'updated_at'),
});

function put(sql: Sql, ctx: NamespacedContext, sandbox: Sandbox): void {
  sql.run(
    `INSERT OR REPLACE INTO sandboxes
     (namespace, id, sandboxer, runtime, options_url, options, spec_url, spec, extensions, labels, created_at,
      updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ctx.namespace,
    sandbox.id,
    sandbox.sandboxer,
    sandbox.runtime.name,
    ...anyColumns(sandbox.runtime.options),
    ...anyColumns(sandbox.spec),
    extensionsColumn(sandbox.extensions),
    JSON.stringify(sandbox.labels),
    sandbox.createdAt,
    sandbox.updatedAt,
  );
}

/** Errors: InvalidArgument. */
function checked(sandbox: Sandbox): Sandbox {
  const what = `sandbox ${JSON.stringify(sandbox.id)}`;
  if (sandbox.runtime.name === '') throw invalidArgument(`${what}: runtime name must be set`);
  if (Object.hasOwn(sandbox.extensions, ''))
    throw invalidArgument(`${what}: extension keys must not be empty`);
  checkLabels(sandbox.labels);
  return { ...sandbox, labels: withoutEmptyLabels(sandbox.labels) };
}

function masked(current: Sandbox, given: NewSandbox, paths: readonly string[]): Sandbox {
  let next = current;
  const set = (change: Partial<Sandbox>) => (): void => {
    next = { ...next, ...change };
  };
  applyMask(
    `sandbox ${JSON.stringify(given.id)}`,
    paths.length === 0 ? ['labels', 'extensions', 'runtime', 'spec'] : paths,
    {
      labels: {
        whole: set({ labels: given.labels }),
        entry: (key) => set({ labels: withLabel(next.labels, key, labelOf(given.labels, key) ?? '') })(),
      },
      extensions: {
        whole: set({ extensions: given.extensions }),
        entry: (key) => set({ extensions: maskExtension(next.extensions, given.extensions, key) })(),
      },
      runtime: { whole: set({ runtime: given.runtime }) },
      spec: { whole: set({ spec: given.spec }) },
    },
  );
  return next;
}

function field(sandbox: Sandbox, path: readonly string[]): string | undefined {
  if (path[0] === 'id') return sandbox.id;
  return path[0] === 'labels' ? mapField(sandbox.labels, path) : undefined;
}
