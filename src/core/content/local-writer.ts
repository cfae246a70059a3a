/**
 * A writer of one ingest of the local store. It holds the ref's lock until it is disposed or `commit` has ended,
 * whichever way: after a failed commit the bytes are still there for whoever opens the ref next.
 *
 * The hash runs on this thread while libuv's pool writes the same bytes, so neither waits for the other.
 */
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Digest, Digester } from '../../base/digest.ts';
import { absent, ContainerdError, failedPrecondition, invalidArgument, wrap } from '../../base/errors.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import { type Instant, now } from '../../base/time.ts';
import { fromNodeError, isErrno } from '../../platform/errno.ts';
import { syncDirectoryAside } from '../../platform/sync-directory.ts';
import type { BlobCommitOptions, BlobWriter, CommittedBlob } from './blob-store.ts';
import { checkCommit, type IngestStatus } from './content-store.ts';
import { absentIsUndefined, dataFile, hashFile, touchIngest } from './ingest-directory.ts';

export interface LocalWriterState {
  readonly directory: string;
  readonly handle: FileHandle;
  readonly lock: Disposable;
  readonly ref: IngestRef;
  /** The ref as the caller knows it, for messages. */
  readonly shownRef: string;
  readonly totalBytes: number;
  readonly expected: Digest | undefined;
  readonly startedAt: Instant;
  readonly offsetBytes: number;
  readonly digester: Digester;
  readonly blobPath: (digest: Digest) => string;
}

export class LocalWriter implements BlobWriter {
  readonly #state: LocalWriterState;
  #digester: Digester;
  #offsetBytes: number;
  #updatedAt: Instant;
  #open = true;

  constructor(state: LocalWriterState) {
    this.#state = state;
    this.#digester = state.digester;
    this.#offsetBytes = state.offsetBytes;
    this.#updatedAt = state.startedAt;
  }

  status(): IngestStatus {
    const { ref, totalBytes, expected, startedAt } = this.#state;
    return {
      ref,
      totalBytes,
      expected,
      startedAt,
      offsetBytes: this.#offsetBytes,
      updatedAt: this.#updatedAt,
    };
  }

  digest(): Digest {
    return this.#digester.current();
  }

  /** For reading while it grows; it stays good when the writer is done. Owned by the caller. */
  async openFile(): Promise<FileHandle> {
    this.#requireOpen();
    return open(dataFile(this.#state.directory), 'r');
  }

  /** Errors: ResourceExhausted when the disk is full; then nothing of `bytes` is kept. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#requireOpen();
    if (bytes.byteLength === 0) return;
    const writing = this.#writeAll(bytes);
    this.#digester.update(bytes);
    try {
      await writing;
    } catch (error) {
      await this.#restore();
      throw wrap(`write ingest ${this.#state.ref}`, fromNodeError(error));
    }
    this.#offsetBytes += bytes.byteLength;
    this.#updatedAt = now();
  }

  /** Errors: InvalidArgument for another size than 0. */
  async truncate(sizeBytes: number): Promise<void> {
    this.#requireOpen();
    if (sizeBytes !== 0) throw invalidArgument(`truncate ingest to ${sizeBytes}: only 0 is supported`);
    await this.#state.handle.truncate(0);
    this.#digester = await hashFile(dataFile(this.#state.directory), 0);
    this.#offsetBytes = 0;
    this.#updatedAt = now();
  }

  async commit(options: BlobCommitOptions): Promise<CommittedBlob> {
    this.#requireOpen();
    this.#open = false;
    const { directory, handle, shownRef } = this.#state;
    const digest = this.digest();
    const sizeBytes = this.#offsetBytes;
    try {
      checkCommit({ ref: shownRef, digest, sizeBytes }, options);
      const target = this.#state.blobPath(digest);
      const existed = options.replace !== true && (await hasSize(target, sizeBytes));
      if (!existed) {
        await handle.chmod(0o444);
        await handle.sync();
        await rename(dataFile(directory), target);
        await syncDirectoryAside(dirname(target));
      }
      await rm(directory, { recursive: true, force: true });
      return { digest, sizeBytes, existed };
    } catch (error) {
      if (isErrno(error, 'ENOENT')) throw absent(`ingest ${shownRef} was aborted`, error);
      if (error instanceof ContainerdError) throw error;
      throw wrap(`commit ingest ${shownRef}`, fromNodeError(error));
    } finally {
      await this.#close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    try {
      // Aborted meanwhile, or the disk is full: the time is not worth an error.
      await touchIngest(this.#state.directory, this.#updatedAt).catch(() => {});
    } finally {
      await this.#close();
    }
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.#state.handle.write(
        bytes,
        done,
        bytes.byteLength - done,
        this.#offsetBytes + done,
      );
      done += bytesWritten;
    }
  }

  async #restore(): Promise<void> {
    await this.#state.handle.truncate(this.#offsetBytes);
    this.#digester = await hashFile(dataFile(this.#state.directory), this.#offsetBytes);
  }

  #requireOpen(): void {
    if (!this.#open) throw failedPrecondition(`writer of ingest ${this.#state.ref} is closed`);
  }

  async #close(): Promise<void> {
    using _lock = this.#state.lock;
    await this.#state.handle.close();
  }
}

/** A file of another size is what a power cut left of it on a file system that reorders: it is replaced. */
async function hasSize(path: string, sizeBytes: number): Promise<boolean> {
  return (await stat(path).catch(absentIsUndefined))?.size === sizeBytes;
}
