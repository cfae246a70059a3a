/** Sandbox records in the database. */
import type { NamespacedContext } from '../../base/context.ts';
import { alreadyExists, invalidArgument, notFound } from '../../base/errors.ts';
import type { SandboxId } from '../../base/identifiers.ts';
import { checkLabels, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import type { NewSandbox, Sandbox, SandboxStore } from '../sandboxes/sandbox-store.ts';
import { any, anyColumns, extensions, extensionsColumn, instant, labels, text } from './columns.ts';
import type { Row, Sql } from './database.ts';
import { maskRecord, RecordTable } from './record-table.ts';
import { ensureNamespace, type StoreDependencies } from './store-base.ts';

export class MetadataSandboxStore implements SandboxStore {
  readonly #dependencies: StoreDependencies;

  constructor(dependencies: StoreDependencies) {
    this.#dependencies = dependencies;
  }

  async get({ namespace }: NamespacedContext, id: SandboxId): Promise<Sandbox> {
    const found = this.#dependencies.database.read((sql) => table.find(sql, namespace, id));
    if (found === undefined) throw notFound('sandbox', id);
    return found;
  }

  async list({ namespace }: NamespacedContext, filters: readonly string[]): Promise<Sandbox[]> {
    return this.#dependencies.database.read((sql) => table.list(sql, namespace, filters));
  }

  async create(ctx: NamespacedContext, sandbox: NewSandbox): Promise<Sandbox> {
    const at = now();
    const created = checked({ ...sandbox, createdAt: at, updatedAt: at });
    await this.#dependencies.database.write((sql) => {
      if (table.find(sql, ctx.namespace, sandbox.id) !== undefined)
        throw alreadyExists('sandbox', sandbox.id);
      ensureNamespace(sql, ctx.namespace);
      put(sql, ctx, created);
    });
    this.#dependencies.changes.written();
    return created;
  }

  async update(ctx: NamespacedContext, sandbox: NewSandbox, paths: readonly string[]): Promise<Sandbox> {
    const updated = await this.#dependencies.database.write((sql) => {
      const current = table.find(sql, ctx.namespace, sandbox.id);
      if (current === undefined) throw notFound('sandbox', sandbox.id);
      const next = checked({ ...masked(current, sandbox, paths), updatedAt: now() });
      put(sql, ctx, next);
      return next;
    });
    this.#dependencies.changes.deleted();
    return updated;
  }

  async delete(ctx: NamespacedContext, id: SandboxId): Promise<void> {
    await this.#dependencies.database.write((sql) => {
      if (!table.drop(sql, ctx.namespace, id)) throw notFound('sandbox', id);
    });
    this.#dependencies.changes.deleted();
  }
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

const table = new RecordTable<Sandbox>({ table: 'sandboxes', read: sandboxOf });

function put(sql: Sql, { namespace }: NamespacedContext, sandbox: Sandbox): void {
  const [optionsUrl, options] = anyColumns(sandbox.runtime.options);
  const [specUrl, spec] = anyColumns(sandbox.spec);
  table.put(sql, {
    namespace,
    id: sandbox.id,
    sandboxer: sandbox.sandboxer,
    runtime: sandbox.runtime.name,
    options_url: optionsUrl,
    options,
    spec_url: specUrl,
    spec,
    extensions: extensionsColumn(sandbox.extensions),
    labels: JSON.stringify(sandbox.labels),
    created_at: sandbox.createdAt,
    updated_at: sandbox.updatedAt,
  });
}

/** A runtime may be without a name, as in containerd: who starts the sandbox finds out. Errors: InvalidArgument. */
function checked(sandbox: Sandbox): Sandbox {
  if (Object.hasOwn(sandbox.extensions, ''))
    throw invalidArgument(`sandbox ${JSON.stringify(sandbox.id)}: extension keys must not be empty`);
  checkLabels(sandbox.labels, 'sandbox.Labels');
  return { ...sandbox, labels: withoutEmptyLabels(sandbox.labels) };
}

const masked = (current: Sandbox, given: NewSandbox, paths: readonly string[]): Sandbox =>
  maskRecord(
    `sandbox ${JSON.stringify(given.id)}`,
    current,
    given,
    paths.length === 0 ? ['labels', 'extensions', 'runtime', 'spec'] : paths,
    { runtime: { runtime: given.runtime }, spec: { spec: given.spec } },
  );
