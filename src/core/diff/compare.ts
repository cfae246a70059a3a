/**
 * Writes the difference of two trees into the content store as a layer: changes, tar, compression, ingest, one
 * after another as a pipe of chunks. The blob carries its diffID in the label `containerd.io/uncompressed`.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { createGzip, createZstdCompress } from 'node:zlib';
import { forCleanup, type NamespacedContext } from '../../base/context.ts';
import { type Digest, Digester } from '../../base/digest.ts';
import { failedPrecondition, hasCode, unimplemented } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import type { Instant } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { fromNodeError } from '../../platform/errno.ts';
import type { FileOperations } from '../../platform/platform.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { CompareOptions } from './differ.ts';
import { type Compression, ociLayer, ociLayerGzip, ociLayerZstd } from './layer-media-type.ts';
import { whiteoutPrefix } from './layer-path.ts';
import { emptyFile, type TarEntry } from './tar-entry.ts';
import { tarEnd, tarEntryHeader, tarPadding } from './tar-writer.ts';
import { type TreeChange, TreeComparison, type TreeNode } from './tree-changes.ts';

export interface TreePair {
  /** Undefined is an empty tree. */
  readonly lower: string | undefined;
  readonly upper: string | undefined;
}

const uncompressedLabel = 'containerd.io/uncompressed';
const readBytes = 1024 * 1024;
const writable: Readonly<Record<string, Compression>> = {
  [ociLayer]: 'none',
  [ociLayerGzip]: 'gzip',
  [ociLayerZstd]: 'zstd',
};

/** Errors: Unimplemented (media type), FailedPrecondition (a file changed under the reading), those of the store. */
export async function writeLayerBlob(
  { content, files }: { content: ContentStore; files: FileOperations },
  ctx: NamespacedContext,
  pair: TreePair,
  { mediaType = ociLayerGzip, ref, labels = {}, sourceDateEpoch }: CompareOptions,
): Promise<Descriptor> {
  const compression = Object.hasOwn(writable, mediaType) ? writable[mediaType]! : undefined;
  if (compression === undefined)
    throw unimplemented(`layers of media type ${JSON.stringify(mediaType)} cannot be written`);
  const ingest = parseIngestRef(ref ?? `compare-${randomUUID()}`);
  try {
    await using writer = await content.writer(ctx, { ref: ingest });
    // An ingest that was left half way holds another moment of the tree.
    if (writer.status().offsetBytes > 0) await writer.truncate(0);
    const diffId = new Digester();
    const tar = hashed(tarOf(files, pair, { signal: ctx.signal, sourceDateEpoch }), diffId);
    let sizeBytes = 0;
    for await (const chunk of compress(tar, compression)) {
      await writer.write(chunk);
      sizeBytes += chunk.length;
    }
    const digest = writer.digest();
    const allLabels = { ...labels, [uncompressedLabel]: diffId.current() };
    try {
      await writer.commit(ctx, { sizeBytes, expected: digest, labels: allLabels });
    } catch (error) {
      if (!hasCode(error, 'AlreadyExists')) throw error;
      await labelExisting(content, ctx, digest, diffId.current());
    }
    return { mediaType, digest, sizeBytes };
  } catch (error) {
    // Nobody knows a random ref; one that was given is the caller's.
    if (ref === undefined) await content.abort(forCleanup(ctx, limits.cleanupMs), ingest).catch(() => {});
    throw error;
  }
}

async function labelExisting(
  content: ContentStore,
  ctx: NamespacedContext,
  digest: Digest,
  diffId: Digest,
): Promise<void> {
  const info = await content.info(ctx, digest);
  if (info.labels[uncompressedLabel] !== undefined) return;
  await content.update(ctx, { digest, labels: { [uncompressedLabel]: diffId } }, [
    `labels.${uncompressedLabel}`,
  ]);
}

async function* hashed(chunks: AsyncIterable<Uint8Array>, into: Digester): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of chunks) {
    into.update(chunk);
    yield chunk;
  }
}

export interface TarOptions {
  readonly signal: AbortSignal;
  readonly sourceDateEpoch: Instant | undefined;
}

/** The tar of what changes `lower` into `upper`. */
export async function* tarOf(
  files: FileOperations,
  { lower, upper }: TreePair,
  { signal, sourceDateEpoch }: TarOptions,
): AsyncGenerator<Uint8Array, void> {
  if (upper !== undefined)
    for await (const change of new TreeComparison(files, { signal }).changes(lower, upper)) {
      const entry = entryOf(change, sourceDateEpoch);
      yield tarEntryHeader(entry);
      if (change.kind === 'put' && entry.sizeBytes > 0) {
        yield* fileBytes(join(upper, change.node.path), entry.sizeBytes);
        yield tarPadding(entry.sizeBytes);
      }
    }
  yield tarEnd();
}

function entryOf(change: TreeChange, latest: Instant | undefined): TarEntry {
  if (change.kind === 'hide') return whiteout(change.path);
  const { status, target, xattrs, path } = change.node;
  const modifiedAt = latest !== undefined && status.modifiedAt > latest ? latest : status.modifiedAt;
  const isLink = change.linkTo !== undefined;
  return {
    kind: isLink ? 'hardlink' : kindOf(change.node),
    path: status.kind === 'directory' ? `${path === '' ? '.' : path}/` : path,
    linkPath: change.linkTo ?? target,
    mode: status.mode,
    uid: status.uid,
    gid: status.gid,
    sizeBytes: status.kind === 'file' && !isLink ? status.sizeBytes : 0,
    modifiedAt,
    deviceMajor: status.deviceMajor,
    deviceMinor: status.deviceMinor,
    xattrs,
  };
}

function kindOf({ path, status: { kind } }: TreeNode): TarEntry['kind'] {
  if (kind === 'socket') throw failedPrecondition(`socket ${JSON.stringify(path)} cannot be archived`);
  return kind;
}

function whiteout(path: string): TarEntry {
  const slash = path.lastIndexOf('/') + 1;
  // From the epoch, as containerd since 2.0: the same removal makes the same layer.
  return emptyFile(path.slice(0, slash) + whiteoutPrefix + path.slice(slash), 0);
}

/** Exactly `sizeBytes`, as the header has promised. */
async function* fileBytes(path: string, sizeBytes: number): AsyncGenerator<Uint8Array, void> {
  await using file = await open(path, 'r').catch((error: unknown) => {
    throw fromNodeError(error);
  });
  for (let at = 0; at < sizeBytes; ) {
    const buffer = Buffer.allocUnsafe(Math.min(readBytes, sizeBytes - at));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0)
      throw failedPrecondition(
        `${path} became shorter while it was read: stop what writes to it, or try again`,
      );
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

async function* compress(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
): AsyncGenerator<Uint8Array, void> {
  if (compression === 'none') {
    yield* source;
    return;
  }
  const engine = compression === 'gzip' ? createGzip() : createZstdCompress();
  const feed = async (): Promise<void> => {
    try {
      for await (const chunk of source) {
        if (engine.destroyed) return;
        if (!engine.write(chunk)) await Promise.race([once(engine, 'drain'), once(engine, 'close')]);
      }
      engine.end();
    } catch (error) {
      engine.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const feeding = feed();
  try {
    for await (const chunk of engine) yield chunk as Buffer;
  } finally {
    engine.destroy();
    await feeding;
  }
}
