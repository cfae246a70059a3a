/**
 * The contract of content stores: bytes by digest, and ingests by ref until they are committed.
 *
 * Implemented by the namespaced view in core/metadata, which keeps its bytes in a BlobStore, and by a client of what
 * another program serves; one suite (content-store.suite.ts) runs against each. Rules: facts of containerd's content service.
 */
import type { NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { absent, type ContainerdError, failedPrecondition, taken } from '../../base/errors.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';

/** In containerd's words, which its clients show; so are those below. */
export const contentNotFound = (digest: Digest): ContainerdError => absent(`content digest ${digest}`);

export const ingestNotFound = (ref: string): ContainerdError => absent(`reference ${ref}`);

const sizeMismatch = (ref: string, sizeBytes: number, expectedBytes: number): ContainerdError =>
  failedPrecondition(`${JSON.stringify(ref)} failed size validation: ${sizeBytes} != ${expectedBytes}`);

/** What a commit was promised. Errors: FailedPrecondition. */
export function checkCommit(
  { ref, digest, sizeBytes }: { ref: string; digest: Digest; sizeBytes: number },
  promised: { readonly sizeBytes?: number | undefined; readonly expected?: Digest | undefined },
): void {
  if (promised.sizeBytes !== undefined && promised.sizeBytes > 0 && promised.sizeBytes !== sizeBytes)
    throw sizeMismatch(ref, sizeBytes, promised.sizeBytes);
  if (promised.expected !== undefined && promised.expected !== digest)
    throw failedPrecondition(`unexpected commit digest ${digest}, expected ${promised.expected}`);
}

export const contentExists = (digest: Digest): ContainerdError => taken(`content ${digest}`);

export interface ContentInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
  readonly labels: Labels;
}

export interface IngestStatus {
  readonly ref: IngestRef;
  /** Bytes that are there: where the next write goes. */
  readonly offsetBytes: number;
  /** Announced size, 0 when unknown. */
  readonly totalBytes: number;
  readonly expected: Digest | undefined;
  readonly startedAt: Instant;
  readonly updatedAt: Instant;
}

/** Random access to a blob. Owned by the caller: dispose closes the descriptor. */
export interface ContentReader extends AsyncDisposable {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Of the file that holds the bytes, where there is one; good as long as the reader. */
  readonly fd?: number;
  /** Fills `into` from `offset`; returns the bytes read, less than asked for only at the end. */
  readAt(into: Uint8Array, offset: number): Promise<number>;
  /** The bytes from `offset` on, `lengthBytes` of them or to the end, in chunks of at most 1 MiB. */
  stream(range?: { offset?: number; lengthBytes?: number; signal?: AbortSignal }): AsyncIterable<Uint8Array>;
}

export interface WriterOptions {
  readonly ref: IngestRef;
  /** Announced size; a differing non-zero size restarts an existing ingest. */
  readonly totalBytes?: number;
  /** If the store already has it (in this namespace): AlreadyExists. */
  readonly expected?: Digest;
}

export interface CommitOptions {
  /** Checked when given and not 0. */
  readonly sizeBytes?: number;
  /** Checked when given. */
  readonly expected?: Digest;
  readonly labels?: Labels;
}

/**
 * An open ingest; holds the lock of its ref until it is disposed or committed. Disposing without a commit keeps
 * the data for a later resume. One writer is used by one caller at a time.
 */
export interface ContentWriter extends AsyncDisposable {
  status(): IngestStatus;
  /** Digest of what has been written so far. */
  digest(): Digest;
  /** Appends. `bytes` may be reused after the promise settled. */
  write(bytes: Uint8Array): Promise<void>;
  /**
   * Opens the file that is being written, for reading, where there is one: it shows what was written, and outlives
   * the writer. Owned by the caller.
   */
  openFile?(): Promise<(AsyncDisposable & { readonly fd: number }) | undefined>;
  /** Only to 0. Errors: InvalidArgument otherwise. */
  truncate(sizeBytes: number): Promise<void>;
  /**
   * Makes the blob durable and visible and releases the lock. Errors: FailedPrecondition for another size or
   * digest (the ingest stays), AlreadyExists when the digest is there (the ingest is dropped; the blob still joins
   * the caller's lease).
   */
  commit(ctx: NamespacedContext, options: CommitOptions): Promise<Digest>;
}

export interface ContentStore {
  /** Errors: NotFound. */
  info(ctx: NamespacedContext, digest: Digest): Promise<ContentInfo>;
  /** Labels only. `paths` as update masks: `labels`, `labels.KEY`; none replaces all labels. Errors: NotFound, InvalidArgument. */
  update(
    ctx: NamespacedContext,
    info: { digest: Digest; labels: Labels },
    paths: readonly string[],
  ): Promise<ContentInfo>;
  /** In digest order. `filters` as containerd's filter strings over `digest`, `labels.*`. Errors: InvalidArgument. */
  list(ctx: NamespacedContext, filters: readonly string[]): AsyncIterable<ContentInfo>;
  /** Errors: NotFound. */
  delete(ctx: NamespacedContext, digest: Digest): Promise<void>;
  /** Errors: NotFound. */
  open(ctx: NamespacedContext, digest: Digest): Promise<ContentReader>;
  /** Errors: NotFound. */
  status(ctx: NamespacedContext, ref: IngestRef): Promise<IngestStatus>;
  listStatuses(ctx: NamespacedContext, filters: readonly string[]): Promise<IngestStatus[]>;
  /**
   * Opens or resumes an ingest. Errors: Unavailable ("ref … locked for …") while another writer has it,
   * AlreadyExists for an expected digest that is there.
   */
  writer(ctx: NamespacedContext, options: WriterOptions): Promise<ContentWriter>;
  /** Errors: NotFound. */
  abort(ctx: NamespacedContext, ref: IngestRef): Promise<void>;
}
