/**
 * Reads an image archive into the content store and says what is in it: OCI image layouts (index.json over blobs/) and
 * what `docker save` writes (manifest.json over files of any name), both of which may be in one archive; then the OCI
 * words count.
 *
 * Nothing of an archive becomes a path here: names are looked up in a map. Blobs are verified against the digest that
 * is their name.
 */
import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { forCleanup, type NamespacedContext } from '../../base/context.ts';
import { type Digest, digestOf, parseDigest } from '../../base/digest.ts';
import { hasCode, invalidArgument } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { optionalString, parseJsonObject } from '../../oci/json.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import type { ContentStore, ContentWriter } from '../content/content-store.ts';
import type { TarEntry } from '../diff/tar-entry.ts';
import { archiveSteps } from './archive-entries.ts';
import { type ArchiveFile, dockerArchiveIndex } from './docker-archive.ts';
import { storeBytes } from './image-content.ts';
import type { ArchiveSource } from './transfer-archive.ts';

const documentNames = new Set(['index.json', 'manifest.json', 'oci-layout']);

/** Returns the index of the archive's images; it is in the content store. Errors: InvalidArgument. */
export async function importArchive(
  content: ContentStore,
  ctx: NamespacedContext,
  source: ArchiveSource,
): Promise<Descriptor> {
  const { documents, files } = await new ArchiveImport(content, ctx).read(source.bytes);
  const layout = documents.get('oci-layout');
  if (layout !== undefined) return storeIndex(content, ctx, layoutIndex(layout, documents));
  const manifest = documents.get('manifest.json');
  if (manifest === undefined)
    throw invalidArgument(
      'the archive holds no image: neither an OCI layout (oci-layout, index.json) nor manifest.json of docker save',
    );
  const { forceCompress } = source;
  const built = await dockerArchiveIndex(content, ctx, { manifest, files, forceCompress });
  return storeIndex(content, ctx, built);
}

/** OCI image layout specification, "oci-layout file" and "index.json file". */
function layoutIndex(layout: Buffer, documents: ReadArchive['documents']): Buffer {
  const what = 'oci-layout of the archive';
  const version = optionalString(
    parseJsonObject(layout, what, limits.manifestBytes),
    'imageLayoutVersion',
    what,
  );
  if (version !== '1.0.0')
    throw invalidArgument(`${what} has version ${JSON.stringify(version)}; only "1.0.0" is supported`);
  const index = documents.get('index.json');
  if (index === undefined) throw invalidArgument('the archive has oci-layout but no index.json');
  return index;
}

interface ReadArchive {
  readonly documents: ReadonlyMap<string, Buffer>;
  readonly files: ReadonlyMap<string, ArchiveFile>;
}

/** The file that is being read. */
interface OpenFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly chunks: Uint8Array[] | undefined;
  readonly writer: ContentWriter | undefined;
  readonly expected: Digest | undefined;
  /** First bytes, by which a compression is recognised. */
  head: Buffer;
}

class ArchiveImport {
  readonly #content: ContentStore;
  readonly #ctx: NamespacedContext;
  readonly #documents = new Map<string, Buffer>();
  readonly #files = new Map<string, ArchiveFile>();
  #open: OpenFile | undefined;

  constructor(content: ContentStore, ctx: NamespacedContext) {
    this.#content = content;
    this.#ctx = ctx;
  }

  async read(bytes: AsyncIterable<Uint8Array>): Promise<ReadArchive> {
    try {
      for await (const step of archiveSteps(bytes)) {
        if (step.kind === 'entry') await this.#begin(step.entry);
        else if (step.kind === 'data') await this.#write(step.bytes);
        else await this.#end();
      }
    } catch (error) {
      await this.#abandon();
      throw error;
    }
    return { documents: this.#documents, files: this.#files };
  }

  /** Nobody can go on with an ingest of ours; a caller's lease might hold it for long. */
  async #abandon(): Promise<void> {
    const writer = this.#open?.writer;
    if (writer === undefined) return;
    const cleanup = forCleanup(this.#ctx, limits.cleanupMs);
    try {
      await writer[Symbol.asyncDispose]();
      await this.#content.abort(cleanup, writer.status().ref);
    } catch (error) {
      if (!hasCode(error, 'NotFound'))
        cleanup.log.warn({ error: String(error) }, 'an ingest of an import is left to expire');
    }
  }

  async #begin(entry: TarEntry): Promise<void> {
    const path = entry.path.replace(/^(?:\.?\/)+/, '');
    if (this.#files.size + this.#documents.size > limits.archiveFiles)
      throw invalidArgument(`the archive has more than ${limits.archiveFiles} files`);
    if (entry.kind === 'symlink' || entry.kind === 'hardlink') {
      this.#files.set(path, { linkTo: linkTarget(path, entry) });
      return;
    }
    if (entry.kind !== 'file') return;
    const file = { path, sizeBytes: entry.sizeBytes, head: Buffer.alloc(0) };
    if (documentNames.has(path)) {
      if (entry.sizeBytes > limits.manifestBytes)
        throw invalidArgument(`${path} of the archive is too large`);
      this.#open = { ...file, chunks: [], writer: undefined, expected: undefined };
      return;
    }
    const expected = blobDigest(path);
    this.#open = { ...file, chunks: undefined, expected, writer: await this.#writer(entry, expected) };
  }

  /** Undefined for a blob that is there: its bytes are skipped. */
  async #writer(entry: TarEntry, expected: Digest | undefined): Promise<ContentWriter | undefined> {
    const ref = parseIngestRef(`import-${randomBytes(8).toString('hex')}`);
    try {
      return await this.#content.writer(this.#ctx, {
        ref,
        totalBytes: entry.sizeBytes,
        ...(expected !== undefined && { expected }),
      });
    } catch (error) {
      if (hasCode(error, 'AlreadyExists')) return undefined;
      throw error;
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const file = this.#open;
    if (file === undefined) return;
    if (file.head.byteLength < 4) file.head = Buffer.concat([file.head, bytes.subarray(0, 4)]).subarray(0, 4);
    file.chunks?.push(bytes);
    // A store that has the blob elsewhere hands out an ingest that is complete.
    if (file.writer !== undefined && file.writer.status().offsetBytes < file.sizeBytes)
      await file.writer.write(bytes);
  }

  async #end(): Promise<void> {
    const file = this.#open;
    if (file === undefined) return;
    if (file.chunks === undefined) {
      const digest = (await this.#commit(file)) ?? file.expected;
      if (digest !== undefined)
        this.#files.set(file.path, { digest, sizeBytes: file.sizeBytes, head: file.head });
    } else this.#documents.set(file.path, Buffer.concat(file.chunks));
    this.#open = undefined;
  }

  async #commit({ writer, expected, sizeBytes, path }: OpenFile): Promise<Digest | undefined> {
    if (writer === undefined) return undefined;
    await using open = writer;
    const digest = open.digest();
    try {
      return await open.commit(this.#ctx, { sizeBytes, ...(expected !== undefined && { expected }) });
    } catch (error) {
      if (hasCode(error, 'AlreadyExists')) return digest;
      if (hasCode(error, 'FailedPrecondition'))
        throw invalidArgument(`${path} of the archive holds something else: its digest is ${digest}`, error);
      throw error;
    }
  }
}

/** Only ever a key among the names of this archive. */
const linkTarget = (path: string, { kind, linkPath }: TarEntry): string =>
  posix.normalize(kind === 'hardlink' ? linkPath : posix.join(posix.dirname(path), linkPath));

/** The digest in `blobs/sha256/<hex>`; undefined for other names. */
function blobDigest(path: string): Digest | undefined {
  const match = /^blobs\/([^/]+)\/([^/]+)$/.exec(path);
  return match === null ? undefined : parseDigest(`${match[1]}:${match[2]}`);
}

async function storeIndex(content: ContentStore, ctx: NamespacedContext, bytes: Buffer): Promise<Descriptor> {
  const descriptor = { mediaType: mediaTypes.ociIndex, digest: digestOf(bytes), sizeBytes: bytes.byteLength };
  await storeBytes(content, ctx, descriptor, bytes);
  return descriptor;
}
