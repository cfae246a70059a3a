/** Container records in the database. The words of errors are containerd's, which its clients show. */
import type { NamespacedContext } from '../../base/context.ts';
import { absent, alreadyExists, invalidArgument, notFound, wrap } from '../../base/errors.ts';
import type { ContainerId } from '../../base/identifiers.ts';
import { checkLabels, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import { anyToWire } from '../../wire/any.ts';
import {
  ContainerCreateSchema,
  ContainerDeleteSchema,
  ContainerUpdateSchema,
} from '../../wire/gen/containerd/events/container_pb.js';
import {
  type Container,
  type ContainerStore,
  containerNotFound,
  type NewContainer,
} from '../containers/container-store.ts';
import { any, anyColumns, extensions, extensionsColumn, instant, labels, text } from './columns.ts';
import type { Row, Sql } from './database.ts';
import { maskRecord, RecordTable } from './record-table.ts';
import { ensureNamespace, publishEvent, type StoreDependencies } from './store-base.ts';

export class MetadataContainerStore implements ContainerStore {
  readonly #dependencies: StoreDependencies;

  constructor(dependencies: StoreDependencies) {
    this.#dependencies = dependencies;
  }

  async get({ namespace }: NamespacedContext, id: ContainerId): Promise<Container> {
    const found = this.#dependencies.database.read((sql) => table.find(sql, namespace, id));
    if (found === undefined) throw containerNotFound(namespace, id);
    return found;
  }

  async list({ namespace }: NamespacedContext, filters: readonly string[]): Promise<Container[]> {
    return this.#dependencies.database.read((sql) => table.list(sql, namespace, filters));
  }

  async create(ctx: NamespacedContext, container: NewContainer): Promise<Container> {
    const at = now();
    const created = checked('create container failed validation', {
      ...container,
      createdAt: at,
      updatedAt: at,
    });
    await this.#dependencies.database.write((sql) => {
      if (table.find(sql, ctx.namespace, container.id) !== undefined)
        throw alreadyExists('container', container.id);
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
      const current = table.find(sql, ctx.namespace, container.id);
      if (current === undefined) throw notFound('container', container.id);
      const changed = { ...masked(current, container, paths), updatedAt: now() };
      const next = checked('update failed validation', changed);
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
      if (!table.drop(sql, ctx.namespace, id)) throw absent(`container ${id}`);
    });
    this.#dependencies.changes.deleted();
    await publishEvent(this.#dependencies, ctx, '/containers/delete', ContainerDeleteSchema, { id });
  }
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

const table = new RecordTable<Container>({
  table: 'containers',
  read: containerOf,
  field: ({ runtime, image }, [first, second]) => {
    if (first === 'runtime') return second === 'name' ? runtime.name : undefined;
    return first === 'image' && image !== '' ? image : undefined;
  },
});

function put(sql: Sql, { namespace }: NamespacedContext, container: Container): void {
  const [optionsUrl, options] = anyColumns(container.runtime.options);
  const [specUrl, spec] = anyColumns(container.spec);
  table.put(sql, {
    namespace,
    id: container.id,
    image: container.image,
    runtime: container.runtime.name,
    options_url: optionsUrl,
    options,
    spec_url: specUrl,
    spec,
    snapshotter: container.snapshotter,
    snapshot_key: container.snapshotKey,
    extensions: extensionsColumn(container.extensions),
    sandbox: container.sandbox,
    labels: JSON.stringify(container.labels),
    created_at: container.createdAt,
    updated_at: container.updatedAt,
  });
}

/** Errors: InvalidArgument. */
function checked(doing: string, container: Container): Container {
  const refuse = (reason: string): never => {
    throw invalidArgument(`${doing}: ${reason}`);
  };
  if (Object.hasOwn(container.extensions, '')) refuse('container.Extension keys must not be zero-length');
  if (container.runtime.name === '') refuse('container.Runtime.Name must be set');
  if (container.spec === undefined) refuse('container.Spec must be set');
  if (container.snapshotKey !== '' && container.snapshotter === '')
    refuse('container.Snapshotter must be set if container.SnapshotKey is set');
  try {
    checkLabels(container.labels, 'containers.Labels');
  } catch (error) {
    throw wrap(doing, error);
  }
  return { ...container, labels: withoutEmptyLabels(container.labels) };
}

function masked(current: Container, given: NewContainer, paths: readonly string[]): Container {
  const { spec, image, snapshotKey } = given;
  if (paths.length === 0) {
    if (given.snapshotter !== current.snapshotter)
      throw invalidArgument('container.Snapshotter field is immutable');
    if (given.runtime.name !== current.runtime.name)
      throw invalidArgument('container.Runtime.Name field is immutable');
    return { ...current, labels: given.labels, spec, extensions: given.extensions, image, snapshotKey };
  }
  return maskRecord(JSON.stringify(given.id), current, given, paths, {
    spec: { spec },
    image: { image },
    snapshotkey: { snapshotKey },
  });
}
