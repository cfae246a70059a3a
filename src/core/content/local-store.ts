/**
 * Blobs and ingests on disk, without namespaces or labels: those are core/metadata's, which composes this store.
 *
 *   blobs/<algorithm>/<hex>                       mode 0444, complete and synced before it has this name
 *   ingest/<sha256 of ref>/{ref,startedat,updatedat,total,data}
 *
 * The layout is containerd's, so either may open the other's directory, but ingests begin anew. Plain node:fs, no FFI. `kill -9` between any
 * two steps leaves an ingest that resumes (its hash is taken again from disk) or a blob that nobody lists.
 */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { open, opendir, readdir, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Digest, digestAlgorithm, digestHex, parseDigest } from '../../base/digest.ts';
import { wrap } from '../../base/errors.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import { instantOfNs } from '../../base/time.ts';
import { bootId } from '../../platform/boot-id.ts';
import { fromNodeError, isErrno } from '../../platform/errno.ts';
import { syncDirectory } from '../../platform/sync-directory.ts';
import { BlobReader } from './blob-reader.ts';
import type { BlobInfo, BlobStore } from './blob-store.ts';
import {
  type ContentReader,
  contentNotFound,
  type IngestStatus,
  ingestNotFound,
  type WriterOptions,
} from './content-store.ts';
import {
  absentIsUndefined,
  dataFile,
  hashFile,
  isOfThisBoot,
  makeIngest,
  readIngest,
} from './ingest-directory.ts';
import { LocalWriter } from './local-writer.ts';
import { RefLocks } from './ref-locks.ts';

export class LocalContentStore implements BlobStore {
  readonly #root: string;
  readonly #locks = new RefLocks();
  readonly #bootId: string;

  /** Makes `root` where it is absent. One process may use it at a time. `boot` names the machine's start, for tests. */
  constructor(root: string, { boot = bootId() }: { boot?: string } = {}) {
    this.#root = root;
    this.#bootId = boot;
    for (const [directory, mode] of [
      [root, 0o700],
      [join(root, 'ingest'), 0o755],
      [join(root, 'blobs'), 0o755],
      [join(root, 'blobs', 'sha256'), 0o755],
    ] as const)
      mkdirSync(directory, { recursive: true, mode });
    for (const directory of [dirname(root), root, join(root, 'blobs')]) syncDirectory(directory);
  }

  /** Errors: NotFound. */
  async blob(digest: Digest): Promise<BlobInfo> {
    const status = await stat(this.#blobPath(digest), { bigint: true }).catch(absentIsUndefined);
    if (status === undefined) throw contentNotFound(digest);
    return { digest, sizeBytes: Number(status.size), modifiedAt: instantOfNs(status.mtimeNs) };
  }

  /** Errors: NotFound. */
  async open(digest: Digest): Promise<ContentReader> {
    try {
      const handle = await open(this.#blobPath(digest), 'r');
      try {
        return new BlobReader(handle, { digest, sizeBytes: (await handle.stat()).size });
      } catch (error) {
        await handle.close();
        throw error;
      }
    } catch (error) {
      if (isErrno(error, 'ENOENT')) throw contentNotFound(digest);
      throw wrap(`open content ${digest}`, fromNodeError(error));
    }
  }

  /** Every blob on disk, in no order. Files with other names are none. */
  async *blobs(): AsyncGenerator<Digest> {
    for (const algorithm of await readdir(join(this.#root, 'blobs'))) {
      for await (const entry of await opendir(join(this.#root, 'blobs', algorithm))) {
        const digest = digestOfName(algorithm, entry.name);
        if (digest !== undefined) yield digest;
      }
    }
  }

  /** Paths below `blobs` that are no blobs: nothing of this store makes such. */
  async strays(): Promise<string[]> {
    const strays: string[] = [];
    for (const algorithm of await readdir(join(this.#root, 'blobs'), { withFileTypes: true })) {
      const path = join(this.#root, 'blobs', algorithm.name);
      if (!algorithm.isDirectory()) strays.push(path);
      else
        for await (const entry of await opendir(path))
          if (digestOfName(algorithm.name, entry.name) === undefined) strays.push(join(path, entry.name));
    }
    return strays;
  }

  /** Ingests on disk that nobody writes; half-made ones without their ref. */
  async idleIngests(): Promise<{ path: string; ref: IngestRef | undefined }[]> {
    const idle: { path: string; ref: IngestRef | undefined }[] = [];
    for (const name of await readdir(join(this.#root, 'ingest'))) {
      const path = join(this.#root, 'ingest', name);
      if (this.#locks.isHeld(path)) continue;
      const status = await readIngest(path);
      if (!this.#locks.isHeld(path)) idle.push({ path, ref: status?.ref });
    }
    return idle;
  }

  /** Where the blob is, or would be. */
  pathOf(digest: Digest): string {
    return this.#blobPath(digest);
  }

  /** Removing an absent blob is not an error. Open readers keep their bytes. */
  async removeBlob(digest: Digest): Promise<void> {
    await unlink(this.#blobPath(digest)).catch(absentIsUndefined);
  }

  /** Opens or resumes. Errors: Unavailable while another writer has the ref, ResourceExhausted. */
  async writer(
    { ref, totalBytes = 0, expected }: WriterOptions,
    shownRef: string = ref,
  ): Promise<LocalWriter> {
    const directory = this.#ingestPath(ref);
    using cleanup = new DisposableStack();
    const lock = cleanup.use(this.#locks.acquire(directory, shownRef));
    try {
      const found = await readIngest(directory);
      const restarts =
        found !== undefined && totalBytes > 0 && found.totalBytes > 0 && totalBytes !== found.totalBytes;
      const resumes = found?.ref === ref && !restarts && (await isOfThisBoot(directory, this.#bootId));
      const resumed = resumes ? found : undefined;
      const startedAt =
        resumed?.startedAt ?? (await makeIngest(directory, { ref, totalBytes, bootId: this.#bootId }));
      const offsetBytes = resumed?.offsetBytes ?? 0;
      const digester = await hashFile(dataFile(directory), offsetBytes);
      // The write position is given with each write, so the handle needs no append mode.
      const handle = await open(dataFile(directory), resumed?.offsetBytes ? 'r+' : 'w', 0o666);
      cleanup.move();
      return new LocalWriter({
        directory,
        handle,
        lock,
        ref,
        shownRef,
        totalBytes: totalBytes > 0 ? totalBytes : (resumed?.totalBytes ?? 0),
        expected,
        startedAt,
        offsetBytes,
        digester,
        blobPath: (digest) => this.#blobPath(digest),
      });
    } catch (error) {
      throw wrap(`open ingest ${shownRef}`, fromNodeError(error));
    }
  }

  /** Errors: NotFound. */
  async status(ref: IngestRef): Promise<IngestStatus> {
    const status = await readIngest(this.#ingestPath(ref));
    if (status === undefined) throw ingestNotFound(ref);
    return status;
  }

  /** Drops the ingest even while it is being written: that writer's commit then answers NotFound. Errors: NotFound. */
  async abort(ref: IngestRef): Promise<void> {
    const directory = this.#ingestPath(ref);
    if ((await stat(directory).catch(absentIsUndefined)) === undefined) throw ingestNotFound(ref);
    await rm(directory, { recursive: true, force: true });
  }

  /** Drops the ingests that `keep` does not know, half-made ones included; those being written stay. */
  async pruneIngests(keep: (ref: IngestRef) => boolean): Promise<void> {
    for (const name of await readdir(join(this.#root, 'ingest'))) {
      const directory = join(this.#root, 'ingest', name);
      if (this.#locks.isHeld(directory)) continue;
      const status = await readIngest(directory);
      if (status !== undefined && keep(status.ref)) continue;
      // Asked again after the wait: a writer may have come for it.
      if (!this.#locks.isHeld(directory)) await rm(directory, { recursive: true, force: true });
    }
  }

  #blobPath(digest: Digest): string {
    return join(this.#root, 'blobs', digestAlgorithm(digest), digestHex(digest));
  }

  #ingestPath(ref: IngestRef): string {
    return join(this.#root, 'ingest', createHash('sha256').update(ref).digest('hex'));
  }
}

function digestOfName(algorithm: string, hex: string): Digest | undefined {
  try {
    return parseDigest(`${algorithm}:${hex}`);
  } catch {
    return undefined;
  }
}
