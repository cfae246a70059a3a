/**
 * The contract of what the metadata store keeps its bytes in: blobs by digest and ingests by ref, without namespaces,
 * labels or leases. Its refs are the metadata store's own, so they are of one user only.
 *
 * LocalContentStore has them on disk, RemoteBlobs with another program.
 */
import type { Digest } from '../../base/digest.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import type { Instant } from '../../base/time.ts';
import type { ContentReader, ContentWriter, IngestStatus, WriterOptions } from './content-store.ts';

export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly modifiedAt: Instant;
}

export interface CommittedBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** The store had it already; what was written is dropped. */
  readonly existed: boolean;
}

export interface BlobCommitOptions {
  /** Checked when given and not 0. */
  readonly sizeBytes?: number;
  /** Checked when given. */
  readonly expected?: Digest;
  /** Takes the place of a blob that is there, for one whose bytes are damaged. */
  readonly replace?: boolean;
}

/** As ContentWriter, but for the commit. */
export interface BlobWriter extends Omit<ContentWriter, 'commit'> {
  /** Errors: FailedPrecondition (size, digest; the ingest stays), NotFound (aborted meanwhile), ResourceExhausted. */
  commit(options: BlobCommitOptions): Promise<CommittedBlob>;
}

export interface BlobStore {
  /** Errors: NotFound. */
  blob(digest: Digest): Promise<BlobInfo>;
  /** Errors: NotFound. */
  open(digest: Digest): Promise<ContentReader>;
  /** All of them, in no order. */
  blobs(): AsyncIterable<Digest>;
  /** Removing an absent blob is not an error. */
  removeBlob(digest: Digest): Promise<void>;
  /** Opens or resumes; `shownRef` is the ref as messages name it. Errors: Unavailable while another writer has the ref. */
  writer(options: WriterOptions, shownRef?: string): Promise<BlobWriter>;
  /** Errors: NotFound. */
  status(ref: IngestRef): Promise<IngestStatus>;
  /** Errors: NotFound. */
  abort(ref: IngestRef): Promise<void>;
  /** Drops the ingests that `keep` does not know; those being written stay. */
  pruneIngests(keep: (ref: IngestRef) => boolean): Promise<void>;
  /** Where the blob is, for people. */
  pathOf(digest: Digest): string;
  /** Paths of files that are no blobs, where there are files. */
  strays(): Promise<string[]>;
  /** Directories of ingests that nobody writes, where there are directories; half-made ones without their ref. */
  idleIngests(): Promise<{ path: string; ref: IngestRef | undefined }[]>;
}
