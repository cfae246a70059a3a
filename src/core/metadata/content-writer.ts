/**
 * A namespaced writer: over an ingest of the local store, or already complete because the bytes are there under
 * another namespace's record (then bytes are copied only if the client writes after all).
 */
import type { NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { failedPrecondition, hasCode, invalidArgument } from '../../base/errors.ts';
import type { IngestRef, Namespace } from '../../base/identifiers.ts';
import { checkLabels, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import { ContentCreateSchema } from '../../wire/gen/containerd/events/content_pb.js';
import {
  type CommitOptions,
  type ContentWriter,
  contentExists,
  type IngestStatus,
  sizeMismatch,
} from '../content/content-store.ts';
import { LocalWriter } from '../content/local-writer.ts';
import { type ContentDependencies, dropIngest } from './content-dependencies.ts';
import { ensureNamespace, joinLease, publishEvent, requireLease } from './store-base.ts';

/** A blob that the store has; committing it is only a record. */
interface PresentBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface NamespacedWriterState {
  readonly namespace: Namespace;
  readonly ref: IngestRef;
  readonly backendRef: IngestRef;
  readonly lock: Disposable;
  readonly source: LocalWriter | PresentBlob;
}

export class NamespacedWriter implements ContentWriter {
  readonly #dependencies: ContentDependencies;
  readonly #state: NamespacedWriterState;
  readonly #startedAt = now();
  #source: LocalWriter | PresentBlob;
  #open = true;

  constructor(dependencies: ContentDependencies, state: NamespacedWriterState) {
    this.#dependencies = dependencies;
    this.#state = state;
    this.#source = state.source;
  }

  status(): IngestStatus {
    const { ref } = this.#state;
    if (this.#source instanceof LocalWriter) return { ...this.#source.status(), ref };
    const { digest: expected, sizeBytes } = this.#source;
    const at = this.#startedAt;
    return { ref, expected, offsetBytes: sizeBytes, totalBytes: sizeBytes, startedAt: at, updatedAt: at };
  }

  digest(): Digest {
    return this.#source instanceof LocalWriter ? this.#source.digest() : this.#source.digest;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#requireOpen();
    if (bytes.byteLength === 0) return;
    const writer = await this.#localWriter({ copy: true });
    await writer.write(bytes);
  }

  async openFile(): Promise<(AsyncDisposable & { readonly fd: number }) | undefined> {
    this.#requireOpen();
    return this.#source instanceof LocalWriter ? this.#source.openFile() : undefined;
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#requireOpen();
    if (sizeBytes !== 0) throw invalidArgument(`truncate ingest to ${sizeBytes}: only 0 is supported`);
    const writer = await this.#localWriter({ copy: false });
    await writer.truncate(0);
  }

  async commit(ctx: NamespacedContext, options: CommitOptions): Promise<Digest> {
    this.#requireOpen();
    // From here on the commit closes, even if the caller's scope ends before it has.
    this.#open = false;
    const labels = withoutEmptyLabels(options.labels ?? {});
    const { database, blobGate, changes } = this.#dependencies;
    try {
      checkLabels(labels, 'info.Labels');
      const { lease } = ctx;
      if (lease !== undefined) database.read((sql) => requireLease(sql, ctx.namespace, lease));
      using _gate = await blobGate.acquire(this.digest());
      const { digest, sizeBytes } = await this.#place(options);
      const existed = await database.write((sql) => {
        dropIngest(sql, ctx, this.#state.ref);
        ensureNamespace(sql, ctx.namespace);
        joinLease(sql, ctx, 'content', digest);
        const at = now();
        const { changes: rows } = sql.run(
          `INSERT OR IGNORE INTO content (namespace, digest, size, labels, created_at, updated_at)
           VALUES (?, ?, ?, ?, ?, ?)`,
          ctx.namespace,
          digest,
          sizeBytes,
          JSON.stringify(labels),
          at,
          at,
        );
        return rows === 0;
      });
      if (existed) throw contentExists(digest);
      changes.written();
      await publishEvent(this.#dependencies, ctx, '/content/create', ContentCreateSchema, {
        digest,
        size: BigInt(sizeBytes),
      });
      return digest;
    } finally {
      await this.#release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#release();
  }

  async #release(): Promise<void> {
    using _lock = this.#state.lock;
    if (this.#source instanceof LocalWriter) await this.#source[Symbol.asyncDispose]();
  }

  /** Sees to it that the bytes are in place and synced. */
  async #place(options: CommitOptions): Promise<PresentBlob> {
    if (this.#source instanceof LocalWriter) return this.#source.commit(options);
    const { digest, sizeBytes } = this.#source;
    if (options.sizeBytes !== undefined && options.sizeBytes > 0 && options.sizeBytes !== sizeBytes)
      throw sizeMismatch(this.#state.ref, sizeBytes, options.sizeBytes);
    if (options.expected !== undefined && options.expected !== digest)
      throw failedPrecondition(`unexpected commit digest ${digest}, expected ${options.expected}`);
    const { local } = this.#dependencies;
    // Bytes of an earlier try under this ref, before another namespace had the whole.
    await local.abort(this.#state.backendRef).catch((error: unknown) => {
      if (!hasCode(error, 'NotFound')) throw error;
    });
    return local.blob(digest);
  }

  async #localWriter({ copy }: { copy: boolean }): Promise<LocalWriter> {
    if (this.#source instanceof LocalWriter) return this.#source;
    const { local } = this.#dependencies;
    const { ref, backendRef } = this.#state;
    const { digest } = this.#source;
    const writer = await local.writer({ ref: backendRef }, ref);
    try {
      await writer.truncate(0);
      if (copy) {
        await using reader = await local.open(digest);
        for await (const chunk of reader.stream()) await writer.write(chunk);
      }
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
    this.#source = writer;
    return writer;
  }

  #requireOpen(): void {
    if (!this.#open) throw failedPrecondition(`writer of ingest ${this.#state.ref} is closed`);
  }
}
