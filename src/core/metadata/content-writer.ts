/**
 * A namespaced writer: over an ingest of the blob store, or already complete because the bytes are there under
 * another namespace's record (then bytes are copied only if the client writes after all).
 */
import type { NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { failedPrecondition, hasCode, invalidArgument } from '../../base/errors.ts';
import type { IngestRef, Namespace } from '../../base/identifiers.ts';
import { checkLabels, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import { ContentCreateSchema } from '../../wire/gen/containerd/events/content_pb.js';
import type { BlobWriter } from '../content/blob-store.ts';
import {
  type CommitOptions,
  type ContentWriter,
  checkCommit,
  contentExists,
  type IngestStatus,
} from '../content/content-store.ts';
import { type ContentDependencies, dropIngest } from './content-dependencies.ts';
import { ensureNamespace, joinLease, publishEvent, requireLease } from './store-base.ts';

/** A blob that the store has; committing it is only a record. */
interface PresentBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

const isWriter = (source: BlobWriter | PresentBlob): source is BlobWriter => 'write' in source;

export interface NamespacedWriterState {
  readonly namespace: Namespace;
  readonly ref: IngestRef;
  readonly backendRef: IngestRef;
  readonly lock: Disposable;
  readonly source: BlobWriter | PresentBlob;
}

export class NamespacedWriter implements ContentWriter {
  readonly #dependencies: ContentDependencies;
  readonly #state: NamespacedWriterState;
  readonly #startedAt = now();
  #source: BlobWriter | PresentBlob;
  #open = true;

  constructor(dependencies: ContentDependencies, state: NamespacedWriterState) {
    this.#dependencies = dependencies;
    this.#state = state;
    this.#source = state.source;
  }

  status(): IngestStatus {
    const { ref } = this.#state;
    if (isWriter(this.#source)) return { ...this.#source.status(), ref };
    const { digest: expected, sizeBytes } = this.#source;
    const at = this.#startedAt;
    return { ref, expected, offsetBytes: sizeBytes, totalBytes: sizeBytes, startedAt: at, updatedAt: at };
  }

  digest(): Digest {
    return isWriter(this.#source) ? this.#source.digest() : this.#source.digest;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#requireOpen();
    if (bytes.byteLength === 0) return;
    const writer = await this.#blobWriter({ copy: true });
    await writer.write(bytes);
  }

  async openFile(): Promise<(AsyncDisposable & { readonly fd: number }) | undefined> {
    this.#requireOpen();
    return isWriter(this.#source) ? this.#source.openFile?.() : undefined;
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#requireOpen();
    if (sizeBytes !== 0) throw invalidArgument(`truncate ingest to ${sizeBytes}: only 0 is supported`);
    const writer = await this.#blobWriter({ copy: false });
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
    if (isWriter(this.#source)) await this.#source[Symbol.asyncDispose]();
  }

  /** Sees to it that the bytes are in place and synced. */
  async #place(options: CommitOptions): Promise<PresentBlob> {
    if (isWriter(this.#source)) return this.#source.commit(options);
    const { digest, sizeBytes } = this.#source;
    checkCommit({ ref: this.#state.ref, digest, sizeBytes }, options);
    const { blobs } = this.#dependencies;
    // Bytes of an earlier try under this ref, before another namespace had the whole.
    await blobs.abort(this.#state.backendRef).catch((error: unknown) => {
      if (!hasCode(error, 'NotFound')) throw error;
    });
    return blobs.blob(digest);
  }

  async #blobWriter({ copy }: { copy: boolean }): Promise<BlobWriter> {
    if (isWriter(this.#source)) return this.#source;
    const { blobs } = this.#dependencies;
    const { ref, backendRef } = this.#state;
    const { digest } = this.#source;
    const writer = await blobs.writer({ ref: backendRef }, ref);
    try {
      await writer.truncate(0);
      if (copy) {
        await using reader = await blobs.open(digest);
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
