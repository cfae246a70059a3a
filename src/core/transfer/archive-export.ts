/**
 * Images as one tar: an OCI image layout, with the manifest.json beside it that `docker load` reads. Entries are in
 * the order of their names, owned by root and without times, and documents are written as containerd writes them: the
 * same images make the same bytes, there and here.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { type Digest, digestAlgorithm, digestHex } from '../../base/digest.ts';
import { instantOfNs } from '../../base/time.ts';
import { type Descriptor, descriptorJson } from '../../oci/descriptor.ts';
import type { ImageManifest } from '../../oci/manifest.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import { familiarReference, normaliseReference } from '../../oci/reference.ts';
import type { ContentStore } from '../content/content-store.ts';
import { tarEnd, tarEntryHeader, tarPadding } from '../diff/tar-writer.ts';
import type { Image } from '../images/image-store.ts';

export interface LoadableManifest {
  readonly digest: Digest;
  readonly manifest: ImageManifest;
}

export interface ExportedImage {
  readonly image: Pick<Image, 'name' | 'target'>;
  /** All that goes out of it. */
  readonly pieces: readonly Descriptor[];
  /** What `docker load` makes of it: it knows one platform for a name. */
  readonly loadable: LoadableManifest | undefined;
}

interface ArchiveEntry {
  readonly path: string;
  readonly write: () => Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Each piece once. Errors: NotFound when a piece is deleted meanwhile. */
export async function* exportArchive(
  content: ContentStore,
  ctx: NamespacedContext,
  images: readonly ExportedImage[],
  { skipCompatibilityManifest }: { skipCompatibilityManifest: boolean },
): AsyncGenerator<Uint8Array, void> {
  const digests = [...new Set(images.flatMap(({ pieces }) => pieces.map(({ digest }) => digest)))];
  const loadable = skipCompatibilityManifest ? [] : dockerManifest(images);
  const entries: ArchiveEntry[] = [
    directory('blobs/'),
    ...[...new Set(digests.map(digestAlgorithm))].map((algorithm) => directory(`blobs/${algorithm}/`)),
    ...digests.map((digest) => ({ path: blobPath(digest), write: () => blob(content, ctx, digest) })),
    jsonFile('index.json', 0o644, layoutIndex(images)),
    ...(loadable.length === 0 ? [] : [jsonFile('manifest.json', 0o644, loadable)]),
    jsonFile('oci-layout', 0o444, { imageLayoutVersion: '1.0.0' }),
  ];
  for (const { write } of entries.toSorted((a, b) => (a.path < b.path ? -1 : 1))) yield* write();
  yield tarEnd();
}

const blobPath = (digest: Digest): string => `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;

async function* blob(
  content: ContentStore,
  ctx: NamespacedContext,
  digest: Digest,
): AsyncGenerator<Uint8Array, void> {
  await using reader = await content.open(ctx, digest);
  yield header('file', blobPath(digest), reader.sizeBytes, 0o444);
  yield* reader.stream({ signal: ctx.signal });
  yield tarPadding(reader.sizeBytes);
}

const directory = (path: string): ArchiveEntry => ({
  path,
  write: () => [header('directory', path, 0, 0o755)],
});

function jsonFile(path: string, mode: number, value: unknown): ArchiveEntry {
  const bytes = Buffer.from(JSON.stringify(value));
  const { byteLength } = bytes;
  return { path, write: () => [header('file', path, byteLength, mode), bytes, tarPadding(byteLength)] };
}

const header = (kind: 'file' | 'directory', path: string, sizeBytes: number, mode: number): Buffer =>
  tarEntryHeader({
    kind,
    path,
    linkPath: '',
    mode,
    uid: 0,
    gid: 0,
    sizeBytes,
    modifiedAt: instantOfNs(0n),
    deviceMajor: 0,
    deviceMinor: 0,
    xattrs: new Map(),
  });

const layoutIndex = (images: readonly ExportedImage[]): unknown => ({
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: images.map(({ image: { name, target } }) => {
    const annotations = {
      ...target.annotations,
      'io.containerd.image.name': name,
      'org.opencontainers.image.ref.name': layoutReferenceName(name),
    };
    return descriptorJson({ ...target, annotations: sorted(annotations) });
  }),
});

const sorted = (record: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1)));

/**
 * What stands after the repository: a tag, `@` and a digest, or `tag@digest`; "" for neither. The whole name when it
 * does not begin with a host, as containerd has it.
 */
function layoutReferenceName(name: string): string {
  const [, host, path] = /^([^/]*)(.*)$/s.exec(name) ?? [];
  if (!/^[^:@]+(?::\d*)?$/.test(host ?? '')) return name;
  const object = /[:@].*$/s.exec(path ?? '')?.[0] ?? '';
  return object.startsWith(':') ? object.slice(1) : object;
}

/** One entry for each image, with all names that stand for it. */
function dockerManifest(images: readonly ExportedImage[]): unknown[] {
  const entries = new Map<Digest, { manifest: ImageManifest; tags: Set<string> }>();
  for (const { image, loadable } of images) {
    if (loadable === undefined) continue;
    const entry = entries.get(loadable.digest) ?? { manifest: loadable.manifest, tags: new Set() };
    entries.set(loadable.digest, entry);
    const tag = dockerTag(image.name);
    if (tag !== undefined) entry.tags.add(tag);
  }
  return [...entries.values()].map(({ manifest: { config, layers }, tags }) => ({
    Config: blobPath(config.digest),
    RepoTags: [...tags],
    Layers: layers.map(({ digest }) => blobPath(digest)),
  }));
}

/** Image names are any text; only some can be Docker's. */
function dockerTag(name: string): string | undefined {
  try {
    return familiarReference(normaliseReference(name));
  } catch {
    return undefined;
  }
}
