/**
 * The namespaced view of the content store: records and labels here, bytes in the blob store below.
 *
 * A namespace sees what it has a record of. With the policy "shared" a writer that names an expected digest which any
 * namespace has gets a writer that is already complete; with "isolated" only what a namespace labelled
 * `containerd.io/namespace.shareable=true` has is given away so.
 *
 * A commit and the collector's removal of the same blob exclude each other by `blobGate`, held from before the bytes
 * are in place until the record is durable. An ingest's row is written before its directory and goes after it.
 */
import { checkSignal, type NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { maskLabels } from '../../base/field-mask.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import { checkLabels, type Labels } from '../../base/labels.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { ContentDeleteSchema } from '../../wire/gen/containerd/events/content_pb.js';
import {
  type ContentInfo,
  type ContentReader,
  type ContentStore,
  type ContentWriter,
  contentExists,
  contentNotFound,
  type IngestStatus,
  ingestNotFound,
  type WriterOptions,
} from '../content/content-store.ts';
import { RefLocks } from '../content/ref-locks.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
import { instant, integer, labels, text, textOrUndefined } from './columns.ts';
import { type ContentDependencies, dropIngest, findIngest } from './content-dependencies.ts';
import { NamespacedWriter } from './content-writer.ts';
import type { Row, Sql } from './database.ts';
import { takeNumbers } from './sequence.ts';
import { ensureNamespace, joinLease, leaveLeases, publishEvent, requireLease } from './store-base.ts';

export type ContentSharing = 'shared' | 'isolated';

type IngestPlan =
  | { readonly kind: 'exists' }
  | { readonly kind: 'complete'; readonly backendRef: IngestRef; readonly sizeBytes: number }
  | { readonly kind: 'open'; readonly backendRef: IngestRef };

/** Rows read in one turn of a list. */
const pageRows = 500;

export class MetadataContentStore implements ContentStore {
  readonly #dependencies: ContentDependencies;
  readonly #sharing: ContentSharing;
  readonly #locks = new RefLocks();

  constructor(dependencies: ContentDependencies, { contentSharing }: { contentSharing: ContentSharing }) {
    this.#dependencies = dependencies;
    this.#sharing = contentSharing;
  }

  async info(ctx: NamespacedContext, digest: Digest): Promise<ContentInfo> {
    return this.#dependencies.database.read((sql) => requireContent(sql, ctx, digest));
  }

  async update(
    ctx: NamespacedContext,
    info: { digest: Digest; labels: Labels },
    paths: readonly string[],
  ): Promise<ContentInfo> {
    const updated = await this.#dependencies.database.write((sql) => {
      const current = requireContent(sql, ctx, info.digest);
      const next = {
        ...current,
        labels: maskLabels(`content info ${JSON.stringify(info.digest)}`, current.labels, info.labels, paths),
        updatedAt: now(),
      };
      checkLabels(next.labels, 'info.Labels');
      sql.run(
        'UPDATE content SET labels = ?, updated_at = ? WHERE namespace = ? AND digest = ?',
        JSON.stringify(next.labels),
        next.updatedAt,
        ctx.namespace,
        info.digest,
      );
      return next;
    });
    this.#dependencies.changes.deleted();
    return updated;
  }

  async *list(ctx: NamespacedContext, filters: readonly string[]): AsyncGenerator<ContentInfo> {
    const passes = parseFilters(filters);
    for (let after = ''; ; ) {
      checkSignal(ctx.signal);
      const page = this.#dependencies.database.read((sql) =>
        sql.all(
          'SELECT * FROM content WHERE namespace = ? AND digest > ? ORDER BY digest LIMIT ?',
          ctx.namespace,
          after,
          pageRows,
        ),
      );
      for (const row of page) {
        const info = infoOf(row);
        if (passes((path) => field(info, path))) yield info;
        after = info.digest;
      }
      if (page.length < pageRows) return;
    }
  }

  async delete(ctx: NamespacedContext, digest: Digest): Promise<void> {
    await this.#dependencies.database.write((sql) => {
      requireContent(sql, ctx, digest);
      sql.run('DELETE FROM content WHERE namespace = ? AND digest = ?', ctx.namespace, digest);
      leaveLeases(sql, ctx.namespace, 'content', digest);
    });
    this.#dependencies.changes.contentIsDirty = true;
    this.#dependencies.changes.deleted();
    await publishEvent(this.#dependencies, ctx, '/content/delete', ContentDeleteSchema, { digest });
  }

  async open(ctx: NamespacedContext, digest: Digest): Promise<ContentReader> {
    this.#dependencies.database.read((sql) => requireContent(sql, ctx, digest));
    return this.#dependencies.blobs.open(digest);
  }

  async status(ctx: NamespacedContext, ref: IngestRef): Promise<IngestStatus> {
    const row = this.#dependencies.database.read((sql) => findIngest(sql, ctx, ref));
    const status = row === undefined ? undefined : await this.#statusOf(row);
    if (status === undefined) throw ingestNotFound(ref);
    return status;
  }

  async listStatuses(ctx: NamespacedContext, filters: readonly string[]): Promise<IngestStatus[]> {
    const passes = parseFilters(filters);
    const rows = this.#dependencies.database
      .read((sql) => sql.all('SELECT * FROM ingests WHERE namespace = ? ORDER BY ref', ctx.namespace))
      .filter((row) => passes((path) => (path[0] === 'ref' ? text(row, 'ref') : undefined)));
    const statuses: IngestStatus[] = [];
    for (const row of rows) {
      const status = await this.#statusOf(row);
      if (status !== undefined) statuses.push(status);
    }
    return statuses;
  }

  async writer(ctx: NamespacedContext, options: WriterOptions): Promise<ContentWriter> {
    const { blobs } = this.#dependencies;
    using cleanup = new DisposableStack();
    const lock = cleanup.use(this.#locks.acquire(`${ctx.namespace} ${options.ref}`, options.ref));
    const plan = await this.#dependencies.database.write((sql) => this.#planIngest(sql, ctx, options));
    if (plan.kind === 'exists') throw contentExists(options.expected as Digest);
    this.#dependencies.changes.written();
    const { backendRef } = plan;
    const source =
      plan.kind === 'open'
        ? await blobs.writer({ ...options, ref: backendRef }, options.ref)
        : { digest: options.expected as Digest, sizeBytes: plan.sizeBytes };
    cleanup.move();
    return new NamespacedWriter(this.#dependencies, {
      namespace: ctx.namespace,
      ref: options.ref,
      backendRef,
      lock,
      source,
    });
  }

  async abort(ctx: NamespacedContext, ref: IngestRef): Promise<void> {
    const backendRef = await this.#dependencies.database.write((sql) => {
      const row = findIngest(sql, ctx, ref);
      if (row === undefined) throw ingestNotFound(ref);
      dropIngest(sql, ctx, ref);
      return text(row, 'backend_ref') as IngestRef;
    });
    this.#dependencies.changes.contentIsDirty = true;
    this.#dependencies.changes.deleted();
    await this.#dependencies.blobs.abort(backendRef).catch(unlessNotFound);
  }

  #planIngest(sql: Sql, ctx: NamespacedContext, { ref, expected }: WriterOptions): IngestPlan {
    if (ctx.lease !== undefined) requireLease(sql, ctx.namespace, ctx.lease);
    if (expected !== undefined && find(sql, ctx, expected) !== undefined) {
      joinLease(sql, ctx, 'content', expected);
      return { kind: 'exists' };
    }
    ensureNamespace(sql, ctx.namespace);
    joinLease(sql, ctx, 'ingests', ref);
    const found = findIngest(sql, ctx, ref);
    const backendRef = (
      found === undefined
        ? `${ctx.namespace}/${takeNumbers(sql, 'ingests', 1)}/${ref}`
        : text(found, 'backend_ref')
    ) as IngestRef;
    const at = now();
    sql.run(
      `INSERT INTO ingests (namespace, ref, backend_ref, expected, expires_at, started_at) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (namespace, ref) DO UPDATE SET expected = excluded.expected, expires_at = excluded.expires_at`,
      ctx.namespace,
      ref,
      backendRef,
      expected ?? null,
      ctx.lease === undefined ? at + BigInt(limits.ingestExpiryMs) * 1_000_000n : null,
      at,
    );
    const given = expected === undefined ? undefined : findElsewhere(sql, expected, this.#sharing);
    return given === undefined
      ? { kind: 'open', backendRef }
      : { kind: 'complete', backendRef, sizeBytes: integer(given, 'size') };
  }

  async #statusOf(row: Row): Promise<IngestStatus | undefined> {
    const ref = text(row, 'ref') as IngestRef;
    const expected = textOrUndefined(row, 'expected') as Digest | undefined;
    const startedAt = instant(row, 'started_at');
    const status = await this.#dependencies.blobs
      .status(text(row, 'backend_ref') as IngestRef)
      .catch(unlessNotFound);
    if (status !== undefined) return { ...status, ref, expected };
    if (expected === undefined) return undefined;
    const blob = await this.#dependencies.blobs.blob(expected).catch(unlessNotFound);
    if (blob === undefined) return undefined;
    const { sizeBytes } = blob;
    return { ref, expected, offsetBytes: sizeBytes, totalBytes: sizeBytes, startedAt, updatedAt: startedAt };
  }
}

const find = (sql: Sql, ctx: NamespacedContext, digest: Digest): Row | undefined =>
  sql.get('SELECT * FROM content WHERE namespace = ? AND digest = ?', ctx.namespace, digest);

const findElsewhere = (sql: Sql, digest: Digest, sharing: ContentSharing): Row | undefined =>
  sharing === 'shared'
    ? sql.get('SELECT size FROM content WHERE digest = ? LIMIT 1', digest)
    : sql.get(
        `SELECT size FROM content JOIN namespaces ON namespaces.name = content.namespace WHERE digest = ?
         AND json_extract(namespaces.labels, '$."containerd.io/namespace.shareable"') = 'true' LIMIT 1`,
        digest,
      );

function requireContent(sql: Sql, ctx: NamespacedContext, digest: Digest): ContentInfo {
  const row = find(sql, ctx, digest);
  if (row === undefined) throw contentNotFound(digest);
  return infoOf(row);
}

const infoOf = (row: Row): ContentInfo => ({
  digest: text(row, 'digest') as Digest,
  sizeBytes: integer(row, 'size'),
  createdAt: instant(row, 'created_at'),
  updatedAt: instant(row, 'updated_at'),
  labels: labels(row),
});

function field(info: ContentInfo, path: readonly string[]): string | undefined {
  if (path[0] === 'digest') return info.digest;
  return path[0] === 'labels' ? mapField(info.labels, path) : undefined;
}

function unlessNotFound(error: unknown): undefined {
  if (!hasCode(error, 'NotFound')) throw error;
}
