/** What `docker save` writes, put into the words of manifests and an index. */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import type { NamespacedContext } from '../../base/context.ts';
import { type Digest, digestOf } from '../../base/digest.ts';
import { hasCode, invalidArgument } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { type Descriptor, descriptorJson } from '../../oci/descriptor.ts';
import { asObject, optionalString, optionalStrings, parseJsonArray } from '../../oci/json.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import { normaliseReference } from '../../oci/reference.ts';
import type { ContentStore } from '../content/content-store.ts';
import { readImageConfig, storeBytes } from './image-content.ts';

/** A file of the archive as a blob, or a link to another. */
export type ArchiveFile =
  | { readonly digest: Digest; readonly sizeBytes: number; readonly head: Buffer }
  | { readonly linkTo: string };

interface DockerArchive {
  readonly manifest: Buffer;
  readonly files: ReadonlyMap<string, ArchiveFile>;
  readonly forceCompress: boolean;
}

/** Layers that were compressed, by what they were: an archive may name one many times. */
type Compressed = Map<Digest, Descriptor>;

/** The bytes of an index with one entry for each image and name, as containerd makes it. Errors: InvalidArgument. */
export async function dockerArchiveIndex(
  content: ContentStore,
  ctx: NamespacedContext,
  archive: DockerArchive,
): Promise<Buffer> {
  const what = 'manifest.json of the archive';
  const images = parseJsonArray(archive.manifest, what, limits.manifestBytes);
  const entries: Descriptor[] = [];
  const compressed: Compressed = new Map();
  for (const [position, value] of images.entries()) {
    const where = `${what}: [${position}]`;
    const image = asObject(value, where);
    const paths = {
      config: optionalString(image, 'Config', where) ?? '',
      layers: optionalStrings(image, 'Layers', where) ?? [],
    };
    checkCount(paths.layers.length, `${where}: layers`);
    const manifest = await storeManifest(content, ctx, archive, paths, compressed);
    const names = optionalStrings(image, 'RepoTags', where) ?? [];
    for (const name of names) entries.push({ ...manifest, annotations: nameAnnotations(name) });
    if (names.length === 0) entries.push(manifest);
    checkCount(entries.length, `${what}: names`);
  }
  return Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: entries.map(descriptorJson) }));
}

function checkCount(count: number, what: string): void {
  if (count > limits.manifestEntries)
    throw invalidArgument(`${what}: ${count} are more than the ${limits.manifestEntries} allowed`);
}

function nameAnnotations(name: string): Record<string, string> {
  const reference = normaliseReference(name);
  return {
    'io.containerd.image.name': reference.text,
    'org.opencontainers.image.ref.name': reference.tag ?? '',
  };
}

async function storeManifest(
  content: ContentStore,
  ctx: NamespacedContext,
  { files, forceCompress }: DockerArchive,
  paths: { config: string; layers: readonly string[] },
  compressed: Compressed,
): Promise<Descriptor> {
  const configFile = fileAt(files, paths.config);
  const config = {
    mediaType: mediaTypes.dockerConfig,
    digest: configFile.digest,
    sizeBytes: configFile.sizeBytes,
  };
  const layers: Descriptor[] = [];
  for (const path of paths.layers) {
    const { digest, sizeBytes, head } = fileAt(files, path);
    const layer = { mediaType: layerType(head), digest, sizeBytes };
    const isPlain = layer.mediaType === mediaTypes.dockerLayer;
    if (forceCompress && isPlain && !compressed.has(digest))
      compressed.set(digest, await compress(content, ctx, layer));
    layers.push(compressed.get(digest) ?? layer);
  }
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: descriptorJson(config),
      layers: layers.map(descriptorJson),
    }),
  );
  const { platform } = await readImageConfig(content, ctx, config);
  const manifest = {
    mediaType: mediaTypes.dockerManifest,
    digest: digestOf(bytes),
    sizeBytes: bytes.byteLength,
    platform,
  };
  await storeBytes(content, ctx, manifest, bytes);
  return manifest;
}

function fileAt(
  files: ReadonlyMap<string, ArchiveFile>,
  path: string,
): Exclude<ArchiveFile, { linkTo: string }> {
  let file = files.get(path);
  // Docker links a layer to an equal one; one step is all it makes.
  if (file !== undefined && 'linkTo' in file) file = files.get(file.linkTo);
  if (file === undefined || 'linkTo' in file)
    throw invalidArgument(`manifest.json names ${JSON.stringify(path)}, which is not in the archive`);
  return file;
}

function layerType(head: Buffer): string {
  if (head[0] === 0x1f && head[1] === 0x8b) return mediaTypes.dockerLayerGzip;
  const isZstd = head.byteLength >= 4 && head.readUInt32BE(0) === 0x28b52ffd;
  return isZstd ? mediaTypes.ociLayerZstd : mediaTypes.dockerLayer;
}

async function compress(
  content: ContentStore,
  ctx: NamespacedContext,
  layer: Descriptor,
): Promise<Descriptor> {
  await using reader = await content.open(ctx, layer.digest);
  const ref = parseIngestRef(`import-gzip-${randomBytes(8).toString('hex')}`);
  await using writer = await content.writer(ctx, { ref });
  const gzip = Readable.from(reader.stream({ signal: ctx.signal }), { objectMode: false }).compose(
    createGzip(),
  );
  for await (const chunk of gzip) await writer.write(chunk as Uint8Array);
  const sizeBytes = writer.status().offsetBytes;
  const digest = writer.digest();
  try {
    await writer.commit(ctx, { sizeBytes, labels: { 'containerd.io/uncompressed': layer.digest } });
  } catch (error) {
    if (!hasCode(error, 'AlreadyExists')) throw error;
  }
  return { mediaType: mediaTypes.dockerLayerGzip, digest, sizeBytes };
}
