/** An image's documents out of the content store and into it, whole and bounded. */
import { randomBytes } from 'node:crypto';
import type { NamespacedContext } from '../../base/context.ts';
import { hasCode, invalidArgument } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { type ImageConfig, parseImageConfig } from '../../oci/image-config.ts';
import { type ImageIndex, type ImageManifest, parseManifestOrIndex } from '../../oci/manifest.ts';
import { isIndex, isManifest } from '../../oci/media-types.ts';
import type { ContentStore } from '../content/content-store.ts';

/** Whether the namespace has the blob. */
export async function hasContent(
  content: ContentStore,
  ctx: NamespacedContext,
  { digest }: Descriptor,
): Promise<boolean> {
  try {
    await content.info(ctx, digest);
    return true;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return false;
    throw error;
  }
}

/** Errors: NotFound, InvalidArgument (too large). */
export async function readDocument(
  content: ContentStore,
  ctx: NamespacedContext,
  descriptor: Descriptor,
): Promise<Buffer> {
  await using reader = await content.open(ctx, descriptor.digest);
  checkDocumentSize(descriptor, reader.sizeBytes);
  const bytes = Buffer.alloc(reader.sizeBytes);
  const length = await reader.readAt(bytes, 0);
  return bytes.subarray(0, length);
}

/** Errors: InvalidArgument. */
export function checkDocumentSize(descriptor: Descriptor, sizeBytes = descriptor.sizeBytes): void {
  if (sizeBytes > limits.manifestBytes)
    throw invalidArgument(
      `${descriptor.digest} (${descriptor.mediaType}) has ${sizeBytes} bytes, more than the ${limits.manifestBytes} allowed`,
    );
}

/** Errors: NotFound, InvalidArgument. */
export const readManifestOrIndex = async (
  content: ContentStore,
  ctx: NamespacedContext,
  descriptor: Descriptor,
): Promise<ImageManifest | ImageIndex> =>
  parseManifestOrIndex(await readDocument(content, ctx, descriptor), descriptor);

/** Errors: NotFound, InvalidArgument. */
export const readImageConfig = async (
  content: ContentStore,
  ctx: NamespacedContext,
  descriptor: Descriptor,
): Promise<ImageConfig> => parseImageConfig(await readDocument(content, ctx, descriptor), descriptor.digest);

/** What a manifest or index refers to, in its order; nothing for all else. */
export function childrenOf(document: ImageManifest | ImageIndex): readonly Descriptor[] {
  return document.kind === 'index' ? document.manifests : [document.config, ...document.layers];
}

export const hasChildren = (descriptor: Descriptor): boolean =>
  isManifest(descriptor.mediaType) || isIndex(descriptor.mediaType);

/** Puts a small document into the store; one that is there is fine. */
export async function storeBytes(
  content: ContentStore,
  ctx: NamespacedContext,
  { digest, sizeBytes }: Descriptor,
  bytes: Buffer,
): Promise<void> {
  try {
    const ref = parseIngestRef(`import-${digest}-${randomBytes(4).toString('hex')}`);
    await using writer = await content.writer(ctx, { ref, totalBytes: sizeBytes, expected: digest });
    if (writer.status().offsetBytes < sizeBytes) await writer.write(bytes);
    await writer.commit(ctx, { sizeBytes, expected: digest });
  } catch (error) {
    if (!hasCode(error, 'AlreadyExists')) throw error;
  }
}
