/** Leases in the database. A resource may be named before it exists, and is not looked at. */
import { randomBytes } from 'node:crypto';
import type { NamespacedContext } from '../../base/context.ts';
import { digestFault } from '../../base/digest.ts';
import { alreadyExists, invalidArgument, unimplemented } from '../../base/errors.ts';
import type { LeaseId } from '../../base/identifiers.ts';
import { checkLabels, type Labels, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
import type { Lease, LeaseManager, LeaseResource } from '../leases/lease-manager.ts';
import { instant, labels, text } from './columns.ts';
import { ensureNamespace, requireLease, type StoreDependencies } from './store-base.ts';

export class MetadataLeaseManager implements LeaseManager {
  readonly #dependencies: StoreDependencies;

  constructor(dependencies: StoreDependencies) {
    this.#dependencies = dependencies;
  }

  async create(
    ctx: NamespacedContext,
    { id, labels: given }: { id?: LeaseId; labels: Labels },
  ): Promise<Lease> {
    const createdAt = now();
    const lease: Lease = {
      id: id ?? (`${createdAt}-${randomBytes(4).toString('hex')}` as LeaseId),
      createdAt,
      labels: withoutEmptyLabels(given),
    };
    checkLabels(lease.labels, 'lease.Labels');
    await this.#dependencies.database.write((sql) => {
      const { changes } = sql.run(
        'INSERT OR IGNORE INTO leases (namespace, id, labels, created_at) VALUES (?, ?, ?, ?)',
        ctx.namespace,
        lease.id,
        JSON.stringify(lease.labels),
        lease.createdAt,
      );
      if (changes === 0) throw alreadyExists('lease', lease.id);
      ensureNamespace(sql, ctx.namespace);
    });
    this.#dependencies.changes.written();
    return lease;
  }

  async delete(ctx: NamespacedContext, id: LeaseId, { sync = false }: { sync?: boolean }): Promise<void> {
    await this.#dependencies.database.write((sql) => {
      requireLease(sql, ctx.namespace, id);
      sql.run('DELETE FROM leases WHERE namespace = ? AND id = ?', ctx.namespace, id);
    });
    this.#dependencies.changes.deleted();
    if (sync) await this.#dependencies.changes.collect(ctx);
  }

  async list(ctx: NamespacedContext, filters: readonly string[]): Promise<Lease[]> {
    const passes = parseFilters(filters);
    return this.#dependencies.database
      .read((sql) => sql.all('SELECT * FROM leases WHERE namespace = ? ORDER BY id', ctx.namespace))
      .map((row) => ({
        id: text(row, 'id') as LeaseId,
        createdAt: instant(row, 'created_at'),
        labels: labels(row),
      }))
      .filter((lease) => passes((path) => field(lease, path)));
  }

  async addResource(ctx: NamespacedContext, id: LeaseId, resource: LeaseResource): Promise<void> {
    checkResource(resource);
    await this.#dependencies.database.write((sql) => {
      requireLease(sql, ctx.namespace, id);
      sql.run(
        'INSERT OR IGNORE INTO lease_resources (namespace, lease, type, id) VALUES (?, ?, ?, ?)',
        ctx.namespace,
        id,
        resource.type,
        resource.id,
      );
    });
    this.#dependencies.changes.written();
  }

  async deleteResource(ctx: NamespacedContext, id: LeaseId, resource: LeaseResource): Promise<void> {
    checkResource(resource);
    await this.#dependencies.database.write((sql) => {
      requireLease(sql, ctx.namespace, id);
      sql.run(
        'DELETE FROM lease_resources WHERE namespace = ? AND lease = ? AND type = ? AND id = ?',
        ctx.namespace,
        id,
        resource.type,
        resource.id,
      );
    });
    this.#dependencies.changes.deleted();
  }

  async listResources(ctx: NamespacedContext, id: LeaseId): Promise<LeaseResource[]> {
    return this.#dependencies.database.read((sql) => {
      requireLease(sql, ctx.namespace, id);
      return sql
        .all(
          'SELECT type, id FROM lease_resources WHERE namespace = ? AND lease = ? ORDER BY type, id',
          ctx.namespace,
          id,
        )
        .map((row) => ({ type: text(row, 'type'), id: text(row, 'id') }));
    });
  }
}

/** Errors: InvalidArgument, Unimplemented. */
function checkResource({ type, id }: LeaseResource): void {
  const slash = type.indexOf('/');
  const kind = slash < 0 ? type : type.slice(0, slash);
  const shown = JSON.stringify(type);
  switch (kind) {
    case 'content':
    case 'ingests':
    case 'images':
      if (slash >= 0) throw invalidArgument(`invalid resource type ${shown}: ${kind} takes no suffix`);
      break;
    case 'snapshots':
      if (slash < 0 || slash === type.length - 1)
        throw invalidArgument(`invalid resource type ${shown}: name the snapshotter, as snapshots/overlayfs`);
      break;
    default:
      throw unimplemented(`resource type ${type} not supported yet`);
  }
  if (id === '') throw invalidArgument(`resource id of type ${shown} must not be empty`);
  const fault = kind === 'content' ? digestFault(id) : undefined;
  if (fault !== undefined) throw invalidArgument(`invalid content resource id ${id}: ${fault}`);
}

function field(lease: Lease, path: readonly string[]): string | undefined {
  if (path[0] === 'id') return lease.id;
  return path[0] === 'labels' ? mapField(lease.labels, path) : undefined;
}
