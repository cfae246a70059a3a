/** Container records in the database. */
import type { NamespacedContext } from '../../base/context.ts';
import { alreadyExists, ContainerdError, invalidArgument } from '../../base/errors.ts';
import { applyMask } from '../../base/field-mask.ts';
import type { ContainerId, Namespace } from '../../base/identifiers.ts';
import { checkLabels, labelOf, withLabel, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import { anyToWire } from '../../wire/any.ts';
import {
  ContainerCreateSchema,
  ContainerDeleteSchema,
  ContainerUpdateSchema,
} from '../../wire/gen/containerd/events/container_pb.js';
import type { Container, ContainerStore, NewContainer } from '../containers/container-store.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
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
import { ensureNamespace, publishEvent, type StoreDependencies } from './store-base.ts';

export class MetadataContainerStore implements ContainerStore {
  readonly #dependencies: StoreDependencies;

  constructor(dependencies: StoreDependencies) {
    this.#dependencies = dependencies;
  }

  async get(ctx: NamespacedContext, id: ContainerId): Promise<Container> {
    return this.#dependencies.database.read((sql) => require(sql, ctx, id));
  }

  async list(ctx: NamespacedContext, filters: readonly string[]): Promise<Container[]> {
    const passes = parseFilters(filters);
    return this.#dependencies.database.read((sql) => {
      const containers: Container[] = [];
      for (const row of sql.iterate(
        'SELECT * FROM containers WHERE namespace = ? ORDER BY id',
        ctx.namespace,
      )) {
        const container = containerOf(row);
        if (passes((path) => field(container, path))) containers.push(container);
      }
      return containers;
    });
  }

  async create(ctx: NamespacedContext, container: NewContainer): Promise<Container> {
    const at = now();
    const created = checked({ ...container, createdAt: at, updatedAt: at });
    await this.#dependencies.database.write((sql) => {
      if (find(sql, ctx, container.id) !== undefined) throw alreadyExists('container', container.id);
      ensureNamespace(sql, ctx.namespace);
      put(sql, ctx, created);
    });
    this.#dependencies.changes.written();
    const { name, options } = created.runtime;
    await publishEvent(this.#dependencies, ctx, '/containers/create', ContainerCreateSchema, {
      id: created.id,
      image: created.image,
      runtime: options === undefined ? { name } : { name, options: anyToWire(options) },
    });
    return created;
  }

  async update(
    ctx: NamespacedContext,
    container: NewContainer,
    paths: readonly string[],
  ): Promise<Container> {
    const updated = await this.#dependencies.database.write((sql) => {
      const current = require(sql, ctx, container.id);
      const next = checked({ ...masked(current, container, paths), updatedAt: now() });
      put(sql, ctx, next);
      return next;
    });
    // Another snapshot or other labels may have let something go.
    this.#dependencies.changes.deleted();
    await publishEvent(this.#dependencies, ctx, '/containers/update', ContainerUpdateSchema, {
      id: updated.id,
      image: updated.image,
      labels: updated.labels,
      snapshotKey: updated.snapshotKey,
    });
    return updated;
  }

  async delete(ctx: NamespacedContext, id: ContainerId): Promise<void> {
    await this.#dependencies.database.write((sql) => {
      require(sql, ctx, id);
      sql.run('DELETE FROM containers WHERE namespace = ? AND id = ?', ctx.namespace, id);
    });
    this.#dependencies.changes.deleted();
    await publishEvent(this.#dependencies, ctx, '/containers/delete', ContainerDeleteSchema, { id });
  }
}

/** In containerd's words, which its clients show. */
const containerNotFound = (namespace: Namespace, id: ContainerId): ContainerdError =>
  new ContainerdError(
    'NotFound',
    `container ${JSON.stringify(id)} in namespace ${JSON.stringify(namespace)}`,
  );

const find = (sql: Sql, ctx: NamespacedContext, id: ContainerId): Row | undefined =>
  sql.get('SELECT * FROM containers WHERE namespace = ? AND id = ?', ctx.namespace, id);

function require(sql: Sql, ctx: NamespacedContext, id: ContainerId): Container {
  const row = find(sql, ctx, id);
  if (row === undefined) throw containerNotFound(ctx.namespace, id);
  return containerOf(row);
}

const containerOf = (row: Row): Container => ({
  id: text(row, 'id') as ContainerId,
  labels: labels(row),
  image: text(row, 'image'),
  runtime: { name: text(row, 'runtime'), options: any(row, 'options') },
  spec: any(row, 'spec'),
  snapshotter: text(row, 'snapshotter'),
  snapshotKey: text(row, 'snapshot_key'),
  extensions: extensions(row),
  sandbox: text(row, 'sandbox'),
  createdAt: instant(row, 'created_at'),
  updatedAt: instant(row, 'updated_at'),
});

function put(sql: Sql, ctx: NamespacedContext, container: Container): void {
  sql.run(
    `INSERT OR REPLACE INTO containers
     (namespace, id, image, runtime, options_url, options, spec_url, spec, snapshotter, snapshot_key, extensions,
      sandbox, labels, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ctx.namespace,
    container.id,
    container.image,
    container.runtime.name,
    ...anyColumns(container.runtime.options),
    ...anyColumns(container.spec),
    container.snapshotter,
    container.snapshotKey,
    extensionsColumn(container.extensions),
    container.sandbox,
    JSON.stringify(container.labels),
    container.createdAt,
    container.updatedAt,
  );
}

/** Errors: InvalidArgument. */
function checked(container: Container): Container {
  const what = `container ${JSON.stringify(container.id)}`;
  if (container.runtime.name === '') throw invalidArgument(`${what}: Runtime.Name must be set`);
  if (container.spec === undefined) throw invalidArgument(`${what}: Spec must be set`);
  if (container.snapshotKey !== '' && container.snapshotter === '')
    throw invalidArgument(`${what}: Snapshotter must be set if SnapshotKey is set`);
  if (Object.hasOwn(container.extensions, ''))
    throw invalidArgument(`${what}: extension keys must not be empty`);
  checkLabels(container.labels);
  return { ...container, labels: withoutEmptyLabels(container.labels) };
}

function masked(current: Container, given: NewContainer, paths: readonly string[]): Container {
  const what = `container ${JSON.stringify(given.id)}`;
  if (paths.length === 0) {
    if (given.snapshotter !== current.snapshotter)
      throw invalidArgument(`${what}: Snapshotter field is immutable`);
    if (given.runtime.name !== current.runtime.name)
      throw invalidArgument(`${what}: Runtime.Name field is immutable`);
    const { labels: nextLabels, spec, extensions: nextExtensions, image, snapshotKey } = given;
    return { ...current, labels: nextLabels, spec, extensions: nextExtensions, image, snapshotKey };
  }
  let next = current;
  const set = (change: Partial<Container>) => (): void => {
    next = { ...next, ...change };
  };
  applyMask(what, paths, {
    labels: {
      whole: set({ labels: given.labels }),
      entry: (key) => set({ labels: withLabel(next.labels, key, labelOf(given.labels, key) ?? '') })(),
    },
    spec: { whole: set({ spec: given.spec }) },
    extensions: {
      whole: set({ extensions: given.extensions }),
      entry: (key) => set({ extensions: maskExtension(next.extensions, given.extensions, key) })(),
    },
    image: { whole: set({ image: given.image }) },
    snapshotkey: { whole: set({ snapshotKey: given.snapshotKey }) },
  });
  return next;
}

function field(container: Container, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'id':
      return container.id;
    case 'runtime':
      return path[1] === 'name' ? container.runtime.name : undefined;
    case 'image':
      return container.image === '' ? undefined : container.image;
    case 'labels':
      return mapField(container.labels, path);
    default:
      return undefined;
  }
}
