/** Namespaces in the database. Leases, ingests and sandboxes do not keep one from being deleted: they go with it. */
import { type Context, type NamespacedContext, withNamespace } from '../../base/context.ts';
import { alreadyExists, failedPrecondition, notFound } from '../../base/errors.ts';
import { applyMask, cannotUpdate } from '../../base/field-mask.ts';
import type { Namespace } from '../../base/identifiers.ts';
import { checkLabels, type Labels, labelOf, withLabel, withoutEmptyLabels } from '../../base/labels.ts';
import {
  NamespaceCreateSchema,
  NamespaceDeleteSchema,
  NamespaceUpdateSchema,
} from '../../wire/gen/containerd/events/namespace_pb.js';
import type { NamespaceRecord, NamespaceStore } from '../namespaces/namespace-store.ts';
import { labels as labelsOf, text } from './columns.ts';
import type { Row, Sql } from './database.ts';
import { publishEvent, type StoreDependencies } from './store-base.ts';

export class MetadataNamespaceStore implements NamespaceStore {
  readonly #dependencies: StoreDependencies;

  constructor(dependencies: StoreDependencies) {
    this.#dependencies = dependencies;
  }

  async get(_ctx: Context, name: Namespace): Promise<NamespaceRecord> {
    const row = this.#dependencies.database.read((sql) => find(sql, name));
    return row === undefined ? { name, labels: {} } : recordOf(row);
  }

  async list(_ctx: Context): Promise<NamespaceRecord[]> {
    return this.#dependencies.database.read((sql) => sql.all('SELECT * FROM namespaces')).map(recordOf);
  }

  async create(ctx: Context, record: NamespaceRecord): Promise<NamespaceRecord> {
    const created = { name: record.name, labels: withoutEmptyLabels(record.labels) };
    checkLabels(created.labels, 'namespace.Labels');
    await this.#dependencies.database.write((sql) => {
      if (find(sql, record.name) !== undefined) throw alreadyExists('namespace', record.name);
      put(sql, created);
    });
    await publishEvent(
      this.#dependencies,
      within(ctx, created),
      '/namespaces/create',
      NamespaceCreateSchema,
      created,
    );
    return created;
  }

  async update(ctx: Context, record: NamespaceRecord, paths: readonly string[]): Promise<NamespaceRecord> {
    checkLabels(record.labels, 'namespace.Labels');
    const updated = await this.#dependencies.database.write((sql) => {
      const row = find(sql, record.name);
      const current = row === undefined ? {} : labelsOf(row);
      const next = { name: record.name, labels: maskNamespace(record, current, paths) };
      put(sql, next);
      return next;
    });
    await publishEvent(
      this.#dependencies,
      within(ctx, updated),
      '/namespaces/update',
      NamespaceUpdateSchema,
      updated,
    );
    return updated;
  }

  async delete(ctx: Context, name: Namespace): Promise<void> {
    await this.#dependencies.database.write((sql) => {
      if (find(sql, name) === undefined) throw notFound('namespace', name);
      const left = whatIsLeft(sql, name);
      if (left.length > 0)
        throw failedPrecondition(
          `namespace ${JSON.stringify(name)} must be empty, but it still has ${left.join(', ')}`,
        );
      for (const table of ['lease_resources', 'leases', 'ingests', 'sandboxes', 'mounts'])
        sql.run(`DELETE FROM ${table} WHERE namespace = ?`, name);
      sql.run('DELETE FROM namespaces WHERE name = ?', name);
    });
    this.#dependencies.changes.contentIsDirty = true;
    this.#dependencies.changes.deleted();
    await publishEvent(
      this.#dependencies,
      withNamespace(ctx, name),
      '/namespaces/delete',
      NamespaceDeleteSchema,
      {
        name,
      },
    );
  }
}

const within = (ctx: Context, { name }: NamespaceRecord): NamespacedContext => withNamespace(ctx, name);

const find = (sql: Sql, name: Namespace): Row | undefined =>
  sql.get('SELECT * FROM namespaces WHERE name = ?', name);

const recordOf = (row: Row): NamespaceRecord => ({
  name: text(row, 'name') as Namespace,
  labels: labelsOf(row),
});

function put(sql: Sql, { name, labels }: NamespaceRecord): void {
  sql.run(
    'INSERT INTO namespaces (name, labels) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET labels = excluded.labels',
    name,
    JSON.stringify(labels),
  );
}

/** Here a plain `labels` is refused, as containerd does. */
function maskNamespace(
  { labels: given }: NamespaceRecord,
  current: Labels,
  paths: readonly string[],
): Labels {
  if (paths.length === 0) return withoutEmptyLabels(given);
  let labels = current;
  applyMask('', paths, {
    labels: {
      whole: () => {
        throw cannotUpdate('labels', '');
      },
      entry: (key) => {
        labels = withLabel(labels, key, labelOf(given, key) ?? '');
      },
    },
  });
  return withoutEmptyLabels(labels);
}

function whatIsLeft(sql: Sql, namespace: Namespace): string[] {
  const left: string[] = [];
  for (const [table, shown] of [
    ['images', 'images'],
    ['content', 'blobs'],
    ['containers', 'containers'],
  ] as const)
    if (sql.get(`SELECT 1 FROM ${table} WHERE namespace = ? LIMIT 1`, namespace) !== undefined)
      left.push(shown);
  for (const row of sql.all('SELECT DISTINCT snapshotter FROM snapshots WHERE namespace = ?', namespace))
    left.push(`snapshots on ${text(row, 'snapshotter')} snapshotter`);
  return left;
}
