/**
 * Makes images out of file trees: layers, config, manifest and index as bytes, deterministic, in OCI or Docker words,
 * to be put into a RegistryStorage, a content store or an archive.
 */
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type Digest, digestOf } from '../../base/digest.ts';
import { type Instant, instantOfMs } from '../../base/time.ts';
import type { TarEntry, TarEntryKind } from '../../core/diff/tar-entry.ts';
import { tarEnd, tarEntryHeader, tarPadding } from '../../core/diff/tar-writer.ts';
import { type Descriptor, descriptorJson } from '../../oci/descriptor.ts';
import type { LayerCompression } from '../../oci/media-types.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import { type Platform, platformJson } from '../../oci/platform.ts';
import type { RegistryStorage } from './registry-storage.ts';

/** A file of a tree; a bare string or buffer is a regular file with this content. */
export type TreeNode =
  | string
  | Buffer
  | {
      readonly kind?: TarEntryKind;
      readonly content?: string | Buffer;
      readonly mode?: number;
      readonly uid?: number;
      readonly gid?: number;
      readonly link?: string;
      readonly device?: readonly [major: number, minor: number];
      readonly modifiedAt?: Instant;
      readonly xattrs?: Readonly<Record<string, string>>;
    };

/** Paths without a leading slash; one that ends in a slash is a directory. In order of writing. */
export type FileTree = Readonly<Record<string, TreeNode>>;

export interface LayerOptions {
  readonly compression?: LayerCompression;
  readonly docker?: boolean;
}

export interface BuiltLayer {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly diffId: Digest;
}

export interface BuiltImage {
  /** Of the manifest, with its platform. */
  readonly descriptor: Descriptor;
  readonly manifest: Buffer;
  readonly config: Buffer;
  readonly configDescriptor: Descriptor;
  readonly layers: readonly BuiltLayer[];
}

export interface ImageOptions extends LayerOptions {
  readonly platform?: Platform;
  /** Members of the config's `config` in the spec's words: `{ Cmd: ['/bin/sh'] }`. */
  readonly run?: Readonly<Record<string, unknown>>;
  /** Claimed instead of the true diffIDs. */
  readonly diffIds?: readonly string[];
}

const epoch = instantOfMs(Date.UTC(2024, 0, 1));

/** The tar of a tree, uncompressed. */
export function treeTar(tree: FileTree): Buffer {
  const parts = Object.entries(tree).flatMap(([path, node]) => {
    const { entry, content } = tarEntryOf(path, node);
    return [tarEntryHeader(entry), content, tarPadding(content.byteLength)];
  });
  return Buffer.concat([...parts, tarEnd()]);
}

function tarEntryOf(path: string, node: TreeNode): { entry: TarEntry; content: Buffer } {
  const spec = typeof node === 'string' || Buffer.isBuffer(node) ? { content: node } : node;
  const kind = spec.kind ?? (path.endsWith('/') ? 'directory' : 'file');
  const content = Buffer.from(spec.content ?? '');
  const entry: TarEntry = {
    kind,
    path,
    linkPath: spec.link ?? '',
    mode: spec.mode ?? (kind === 'directory' ? 0o755 : 0o644),
    uid: spec.uid ?? 0,
    gid: spec.gid ?? 0,
    sizeBytes: kind === 'file' ? content.byteLength : 0,
    modifiedAt: spec.modifiedAt ?? epoch,
    deviceMajor: spec.device?.[0] ?? 0,
    deviceMinor: spec.device?.[1] ?? 0,
    xattrs: new Map(Object.entries(spec.xattrs ?? {}).map(([name, value]) => [name, Buffer.from(value)])),
  };
  return { entry, content };
}

export function buildLayer(tree: FileTree | Buffer, options: LayerOptions = {}): BuiltLayer {
  const tar = Buffer.isBuffer(tree) ? tree : treeTar(tree);
  const compression = options.compression ?? 'gzip';
  const bytes = compress(tar, compression);
  const mediaType = layerMediaType(compression, options.docker === true);
  return { descriptor: descriptorOf(mediaType, bytes), bytes, diffId: digestOf(tar) };
}

function compress(tar: Buffer, compression: LayerCompression): Buffer {
  if (compression === 'gzip') return gzipSync(tar);
  return compression === 'zstd' ? zstdCompressSync(tar) : tar;
}

function layerMediaType(compression: LayerCompression, docker: boolean): string {
  if (compression === 'zstd') return mediaTypes.ociLayerZstd;
  if (docker) return compression === 'gzip' ? mediaTypes.dockerLayerGzip : mediaTypes.dockerLayer;
  return compression === 'gzip' ? mediaTypes.ociLayerGzip : mediaTypes.ociLayer;
}

/** Layers are trees, bottom first, or layers made before. */
export function buildImage(
  layers: readonly (FileTree | BuiltLayer)[],
  options: ImageOptions = {},
): BuiltImage {
  const platform = options.platform ?? { os: 'linux', architecture: 'amd64' };
  const built = layers.map((layer) => (isBuilt(layer) ? layer : buildLayer(layer, options)));
  const docker = options.docker === true;
  const config = json({
    created: '2024-01-01T00:00:00Z',
    ...platformJson(platform),
    config: options.run ?? {},
    rootfs: { type: 'layers', diff_ids: options.diffIds ?? built.map(({ diffId }) => diffId) },
    history: built.map(() => ({ created_by: 'test' })),
  });
  const configDescriptor = descriptorOf(docker ? mediaTypes.dockerConfig : mediaTypes.ociConfig, config);
  const mediaType = docker ? mediaTypes.dockerManifest : mediaTypes.ociManifest;
  const manifest = json({
    schemaVersion: 2,
    mediaType,
    config: descriptorJson(configDescriptor),
    layers: built.map(({ descriptor }) => descriptorJson(descriptor)),
  });
  return {
    descriptor: { ...descriptorOf(mediaType, manifest), platform },
    manifest,
    config,
    configDescriptor,
    layers: built,
  };
}

const isBuilt = (layer: FileTree | BuiltLayer): layer is BuiltLayer =>
  'descriptor' in layer && 'diffId' in layer && Buffer.isBuffer((layer as BuiltLayer).bytes);

/** An index over images, with their platforms. */
export function buildIndex(
  images: readonly BuiltImage[],
  options: { docker?: boolean; extra?: readonly Descriptor[] } = {},
): { descriptor: Descriptor; bytes: Buffer } {
  const mediaType = options.docker === true ? mediaTypes.dockerManifestList : mediaTypes.ociIndex;
  const manifests = [...images.map(({ descriptor }) => descriptor), ...(options.extra ?? [])];
  const bytes = json({ schemaVersion: 2, mediaType, manifests: manifests.map(descriptorJson) });
  return { descriptor: descriptorOf(mediaType, bytes), bytes };
}

/** Puts an image, or an index of several, under a tag. Returns the tag's descriptor. */
export function publish(
  storage: RegistryStorage,
  repository: string,
  tag: string,
  images: BuiltImage | readonly BuiltImage[],
): Descriptor {
  const list = 'manifest' in images ? [images] : images;
  for (const image of list) {
    storage.addBlob(repository, image.config);
    for (const { bytes } of image.layers) storage.addBlob(repository, bytes);
    storage.addManifest(repository, image.descriptor.mediaType, image.manifest);
  }
  if ('manifest' in images) {
    storage.addManifest(repository, images.descriptor.mediaType, images.manifest, tag);
    const { platform: _, ...descriptor } = images.descriptor;
    return descriptor;
  }
  const index = buildIndex(images);
  storage.addManifest(repository, index.descriptor.mediaType, index.bytes, tag);
  return index.descriptor;
}

export const descriptorOf = (mediaType: string, bytes: Buffer): Descriptor => ({
  mediaType,
  digest: digestOf(bytes),
  sizeBytes: bytes.byteLength,
});

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
