/** What the content store and its writers share. */
import type { NamespacedContext } from '../../base/context.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import type { KeyedLock } from '../../base/keyed-lock.ts';
import type { BlobStore } from '../content/blob-store.ts';
import type { Row, Sql } from './database.ts';
import { leaveLeases, type StoreDependencies } from './store-base.ts';

export interface ContentDependencies extends StoreDependencies {
  readonly blobs: BlobStore;
  readonly blobGate: KeyedLock;
}

export const findIngest = (sql: Sql, ctx: NamespacedContext, ref: IngestRef): Row | undefined =>
  sql.get('SELECT * FROM ingests WHERE namespace = ? AND ref = ?', ctx.namespace, ref);

export function dropIngest(sql: Sql, ctx: NamespacedContext, ref: IngestRef): void {
  sql.run('DELETE FROM ingests WHERE namespace = ? AND ref = ?', ctx.namespace, ref);
  leaveLeases(sql, ctx.namespace, 'ingests', ref);
}
