/**
 * The story of an export: an image as a tar in the OCI image layout, with the manifest.json beside it that
 * `docker load` reads. Blobs go out as they are stored, each once.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { digestAlgorithm, digestHex } from '../../base/digest.ts';
import { ContainerdError, hasCode, invalidArgument, unimplemented } from '../../base/errors.ts';
import { parseImageName } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { instantOfNs } from '../../base/time.ts';
import { type Descriptor, descriptorJson } from '../../oci/descriptor.ts';
import type { ImageManifest } from '../../oci/manifest.ts';
import { isImageConfig, isNonDistributable, mediaTypes } from '../../oci/media-types.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { familiarReference, parseReference, type Reference } from '../../oci/reference.ts';
import type { ContentStore } from '../content/content-store.ts';
import { tarEnd, tarEntryHeader, tarPadding } from '../diff/tar-writer.ts';
import type { Image, ImageStore } from '../images/image-store.ts';
import { childrenOf, hasChildren, readManifestOrIndex } from './image-content.ts';
import { chosenEntries, type PlatformChoice, platformChoice } from './platform-choice.ts';
import { ProgressReport } from './progress-report.ts';
import type { ImageDestination, ProgressSink } from './transfer.ts';
import type { ArchiveDestination } from './transfer-archive.ts';

export interface ImageExporterDependencies {
  readonly content: ContentStore;
  readonly images: ImageStore;
}

interface ExportedImage extends ExportTree {
  readonly image: Image;
}

interface ExportTree {
  /** In the order of writing. */
  readonly pieces: readonly Descriptor[];
  /** Images that `docker load` understands. */
  readonly manifests: readonly ImageManifest[];
}

export class ImageExporter {
  readonly #deps: ImageExporterDependencies;

  constructor(dependencies: ImageExporterDependencies) {
    this.#deps = dependencies;
  }

  /**
   * One archive of all images named, by `name` and by `extraReferences`.
   * Errors: InvalidArgument (no name), NotFound (image, content of it), Unavailable when the receiver leaves.
   */
  async export(
    ctx: NamespacedContext,
    from: Pick<ImageDestination, 'name' | 'extraReferences'>,
    to: ArchiveDestination,
    progress: ProgressSink,
  ): Promise<void> {
    const report = new ProgressReport(progress);
    report.stage('Exporting');
    // All of it is looked for before the first byte goes: half an archive is no archive.
    const exported: ExportedImage[] = [];
    for (const name of exportedNames(from)) {
      const image = await this.#deps.images.get(ctx, parseImageName(name));
      exported.push({ image, ...(await this.#collect(ctx, image.target, to)) });
    }
    await to.write(this.#archive(ctx, exported, to));
    report.stage('Completed export');
  }

  async #collect(ctx: NamespacedContext, target: Descriptor, to: ArchiveDestination): Promise<ExportTree> {
    const pieces = new Map<string, Descriptor>();
    const manifests: ImageManifest[] = [];
    const choice = exportChoice(to);
    const visit = async (descriptor: Descriptor, depth: number): Promise<void> => {
      if (depth > limits.indexDepth)
        throw invalidArgument(
          `more than ${limits.indexDepth} indexes within each other, at ${descriptor.digest}`,
        );
      if (pieces.has(descriptor.digest)) return;
      if (to.skipNonDistributable && isNonDistributable(descriptor.mediaType)) return;
      await this.#require(ctx, descriptor);
      pieces.set(descriptor.digest, descriptor);
      if (!hasChildren(descriptor)) return;
      const document = await readManifestOrIndex(this.#deps.content, ctx, descriptor);
      if (document.kind === 'manifest' && isImageConfig(document.config.mediaType)) manifests.push(document);
      const children =
        document.kind === 'index'
          ? await this.#present(ctx, chosenEntries(document, choice, descriptor.digest), to)
          : childrenOf(document);
      for (const child of children) await visit(child, depth + 1);
    };
    await visit(target, 0);
    return { pieces: [...pieces.values()], manifests };
  }

  /** Platforms that were not pulled are left out when all are asked for. */
  async #present(
    ctx: NamespacedContext,
    entries: readonly Descriptor[],
    to: ArchiveDestination,
  ): Promise<readonly Descriptor[]> {
    if (!to.allPlatforms) return entries;
    const there: Descriptor[] = [];
    for (const entry of entries) if (await this.#has(ctx, entry)) there.push(entry);
    return there;
  }

  async #has(ctx: NamespacedContext, { digest }: Descriptor): Promise<boolean> {
    try {
      await this.#deps.content.info(ctx, digest);
      return true;
    } catch (error) {
      if (hasCode(error, 'NotFound')) return false;
      throw error;
    }
  }

  async #require(ctx: NamespacedContext, descriptor: Descriptor): Promise<void> {
    if (!(await this.#has(ctx, descriptor)))
      throw new ContainerdError(
        'NotFound',
        `content ${descriptor.digest} of the image is not here: pull it for the platforms that are exported`,
      );
  }

  async *#archive(
    ctx: NamespacedContext,
    exported: readonly ExportedImage[],
    to: ArchiveDestination,
  ): AsyncGenerator<Uint8Array, void> {
    const digests = new Set(exported.flatMap(({ pieces }) => pieces.map(({ digest }) => digest)));
    yield* directory('blobs/');
    for (const algorithm of new Set([...digests].map(digestAlgorithm)))
      yield* directory(`blobs/${algorithm}/`);
    for (const digest of digests) yield* this.#blob(ctx, digest);
    yield* jsonFile('index.json', indexOf(exported.map(({ image }) => image)));
    const loadable = exported.flatMap(dockerManifests);
    if (!to.skipCompatibilityManifest && loadable.length > 0) yield* jsonFile('manifest.json', loadable);
    yield* jsonFile('oci-layout', { imageLayoutVersion: '1.0.0' });
    yield tarEnd();
  }

  async *#blob(ctx: NamespacedContext, digest: Descriptor['digest']): AsyncGenerator<Uint8Array, void> {
    await using reader = await this.#deps.content.open(ctx, digest);
    yield header('file', blobPath(digest), reader.sizeBytes, 0o444);
    yield* reader.stream({ signal: ctx.signal });
    yield tarPadding(reader.sizeBytes);
  }
}

function exportChoice({ platforms, allPlatforms }: ArchiveDestination): PlatformChoice {
  const wanted = platforms.length > 0 ? platforms : [hostPlatform()];
  return platformChoice({ platforms: allPlatforms ? [] : wanted, allMetadata: false, manifestLimit: 0 });
}

const blobPath = (digest: Descriptor['digest']): string =>
  `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;

function header(kind: 'file' | 'directory', path: string, sizeBytes: number, mode: number): Buffer {
  return tarEntryHeader({
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
}

function* directory(path: string): Generator<Uint8Array, void> {
  yield header('directory', path, 0, 0o755);
}

function* jsonFile(path: string, value: unknown): Generator<Uint8Array, void> {
  const bytes = Buffer.from(JSON.stringify(value));
  yield header('file', path, bytes.byteLength, 0o444);
  yield bytes;
  yield tarPadding(bytes.byteLength);
}

const indexOf = (images: readonly Image[]): unknown => ({
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: images.map(({ name, target }) => {
    const tag = tryReference(name)?.tag;
    const annotations = {
      ...target.annotations,
      'io.containerd.image.name': name,
      ...(tag !== undefined && { 'org.opencontainers.image.ref.name': tag }),
    };
    return descriptorJson({ ...target, annotations });
  }),
});

function dockerManifests({ image, manifests }: ExportedImage): unknown[] {
  const reference = tryReference(image.name);
  const tags = reference?.tag === undefined ? [] : [familiarReference(reference)];
  return manifests.map(({ config, layers }, position) => ({
    Config: blobPath(config.digest),
    // A name can stand for one image only.
    RepoTags: position === 0 ? tags : [],
    Layers: layers.map(({ digest }) => blobPath(digest)),
  }));
}

/** Errors: InvalidArgument, Unimplemented (prefixes, as in containerd). */
function exportedNames({
  name,
  extraReferences = [],
}: Pick<ImageDestination, 'name' | 'extraReferences'>): string[] {
  if (extraReferences.some(({ isPrefix }) => isPrefix))
    throw unimplemented('export of all images with a prefix: name each of them');
  const names = [...(name === '' ? [] : [name]), ...extraReferences.map((reference) => reference.name)];
  if (names.length === 0) throw invalidArgument('no image to export was named');
  return [...new Set(names)];
}

/** Image names are any text; only some are references. */
function tryReference(name: string): Reference | undefined {
  try {
    return parseReference(name);
  } catch {
    return undefined;
  }
}
