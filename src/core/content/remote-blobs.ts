/**
 * The bytes of the metadata store in another program's content store. As with containerd, that store is for one daemon
 * alone: what this one does not list, its collector removes.
 *
 * Differs from containerd, which calls in the namespace of whoever happens to write or read, and without one to collect:
 * here all is one namespace. So a store that knows namespaces (another containerd's) can be shared by ours and cleaned.
 */
import { background, type NamespacedContext, withNamespace } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { type IngestRef, parseNamespace } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import type { BlobCommitOptions, BlobInfo, BlobStore, BlobWriter, CommittedBlob } from './blob-store.ts';
import {
  type ContentReader,
  type ContentStore,
  type ContentWriter,
  checkCommit,
  type IngestStatus,
  type WriterOptions,
} from './content-store.ts';

const ctx: NamespacedContext = withNamespace(background(silentLogger), parseNamespace('gantry'));

export class RemoteBlobs implements BlobStore {
  readonly #content: ContentStore;
  readonly #name: string;
  readonly #busy = new Set<IngestRef>();

  constructor({ content }: { content: ContentStore }, { name }: { name: string }) {
    this.#content = content;
    this.#name = name;
  }

  async blob(digest: Digest): Promise<BlobInfo> {
    const { sizeBytes, updatedAt } = await this.#content.info(ctx, digest);
    return { digest, sizeBytes, modifiedAt: updatedAt };
  }

  open(digest: Digest): Promise<ContentReader> {
    return this.#content.open(ctx, digest);
  }

  async *blobs(): AsyncGenerator<Digest> {
    for await (const { digest } of this.#content.list(ctx, [])) yield digest;
  }

  async removeBlob(digest: Digest): Promise<void> {
    await this.#content.delete(ctx, digest).catch(unlessNotFound);
  }

  async writer(options: WriterOptions, shownRef: string = options.ref): Promise<BlobWriter> {
    const { ref, totalBytes, expected } = options;
    // What is there already is for the metadata store to judge, so what is expected stays here.
    const writer = await this.#content.writer(ctx, { ref, ...(totalBytes !== undefined && { totalBytes }) });
    this.#busy.add(ref);
    const content = this.#content;
    return new RemoteBlobWriter(
      { writer, content, onEnd: () => this.#busy.delete(ref) },
      { shownRef, expected },
    );
  }

  status(ref: IngestRef): Promise<IngestStatus> {
    return this.#content.status(ctx, ref);
  }

  abort(ref: IngestRef): Promise<void> {
    return this.#content.abort(ctx, ref);
  }

  async pruneIngests(keep: (ref: IngestRef) => boolean): Promise<void> {
    for (const { ref } of await this.#content.listStatuses(ctx, []))
      if (!this.#busy.has(ref) && !keep(ref)) await this.#content.abort(ctx, ref).catch(unlessNotFound);
  }

  pathOf(digest: Digest): string {
    return `${digest} in proxy plugin ${this.#name}`;
  }

  async strays(): Promise<string[]> {
    return [];
  }

  async idleIngests(): Promise<[]> {
    return [];
  }
}

class RemoteBlobWriter implements BlobWriter {
  readonly #writer: ContentWriter;
  readonly #content: ContentStore;
  readonly #onEnd: () => void;
  readonly #options: { shownRef: string; expected: Digest | undefined };

  constructor(
    { writer, content, onEnd }: { writer: ContentWriter; content: ContentStore; onEnd: () => void },
    options: { shownRef: string; expected: Digest | undefined },
  ) {
    this.#writer = writer;
    this.#content = content;
    this.#onEnd = onEnd;
    this.#options = options;
  }

  status(): IngestStatus {
    return { ...this.#writer.status(), expected: this.#options.expected };
  }

  digest(): Digest {
    return this.#writer.digest();
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#writer.write(bytes);
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#writer.truncate(sizeBytes);
  }

  async commit({ sizeBytes, expected, replace }: BlobCommitOptions): Promise<CommittedBlob> {
    const digest = this.digest();
    const { offsetBytes } = this.status();
    try {
      checkCommit({ ref: this.#options.shownRef, digest, sizeBytes: offsetBytes }, { sizeBytes, expected });
      if (replace === true) await this.#content.delete(ctx, digest).catch(unlessNotFound);
      const existed = await this.#writer.commit(ctx, { sizeBytes: offsetBytes, expected: digest }).then(
        () => false,
        (error: unknown) => {
          if (!hasCode(error, 'AlreadyExists')) throw error;
          return true;
        },
      );
      return { digest, sizeBytes: offsetBytes, existed };
    } finally {
      await this[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#writer[Symbol.asyncDispose]();
    } finally {
      this.#onEnd();
    }
  }
}

function unlessNotFound(error: unknown): void {
  if (!hasCode(error, 'NotFound')) throw error;
}
