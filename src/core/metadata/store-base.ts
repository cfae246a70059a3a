/**
 * What the namespaced stores share: everything of a call (its record, its lease entry, its namespace) is written in
 * one transaction, its event is published once that is durable, and the collector is told.
 */
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import type { NamespacedContext } from '../../base/context.ts';
import { failedPrecondition, notFound } from '../../base/errors.ts';
import type { Namespace } from '../../base/identifiers.ts';
import { packAny } from '../../wire/any.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import type { GarbageCollector } from '../gc/garbage-collector.ts';
import type { Database, Sql } from './database.ts';

export interface StoreDependencies {
  readonly database: Database;
  readonly events: EventPublisher;
  readonly changes: Changes;
}

/**
 * Between the stores and the collector, which needs the stores to be made. It also remembers what the next run has to
 * look at on disk; after a start that is everything, because a crash may have left anything.
 */
export class Changes {
  contentIsDirty = true;
  readonly dirtySnapshotters = new Set<string>();
  #collector: GarbageCollector | undefined;

  useCollector(collector: GarbageCollector): void {
    this.#collector = collector;
  }

  written(): void {
    this.#collector?.mutated({ deleted: false });
  }

  deleted(): void {
    this.#collector?.mutated({ deleted: true });
  }

  /** Errors: FailedPrecondition when there is no collector; whatever made the run fail. */
  async collect(ctx: NamespacedContext): Promise<void> {
    if (this.#collector === undefined) throw failedPrecondition('garbage collection is not running');
    await this.#collector.collect(ctx);
  }
}

export const publishEvent = <Schema extends DescMessage>(
  { events }: StoreDependencies,
  ctx: NamespacedContext,
  topic: string,
  schema: Schema,
  message: MessageInitShape<Schema>,
): Promise<void> => events.publish(ctx, topic, packAny(schema, message));

/** A namespace comes into being with the first thing written in it. */
export function ensureNamespace(sql: Sql, namespace: Namespace): void {
  sql.run("INSERT OR IGNORE INTO namespaces (name, labels) VALUES (?, '{}')", namespace);
}

/** Records a resource in the call's lease, if it has one. Errors: NotFound (lease). */
export function joinLease(sql: Sql, ctx: NamespacedContext, type: string, id: string): void {
  if (ctx.lease === undefined) return;
  requireLease(sql, ctx.namespace, ctx.lease);
  sql.run(
    'INSERT OR IGNORE INTO lease_resources (namespace, lease, type, id) VALUES (?, ?, ?, ?)',
    ctx.namespace,
    ctx.lease,
    type,
    id,
  );
}

/** Errors: NotFound. */
export function requireLease(sql: Sql, namespace: Namespace, lease: string): void {
  const found = sql.get('SELECT 1 FROM leases WHERE namespace = ? AND id = ?', namespace, lease);
  if (found === undefined) throw notFound('lease', lease);
}

/** Takes a resource out of every lease of the namespace. */
export function leaveLeases(sql: Sql, namespace: Namespace, type: string, id: string): void {
  sql.run('DELETE FROM lease_resources WHERE namespace = ? AND type = ? AND id = ?', namespace, type, id);
}
