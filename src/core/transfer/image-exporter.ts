/**
 * The story of an export: images as one archive. What is asked for is found first; blobs go out as they are stored.
 *
 * Differs from containerd: of all platforms, those that are here as a whole go out; there, one that is missing fails
 * the export.
 */
import type { NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { absent, invalidArgument, unimplemented } from '../../base/errors.ts';
import { parseImageName } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { ImageIndex } from '../../oci/manifest.ts';
import { isImageConfig, isNonDistributable } from '../../oci/media-types.ts';
import { hostPlatform, type PlatformMatcher } from '../../oci/platform.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { ImageStore } from '../images/image-store.ts';
import { type ExportedImage, exportArchive, type LoadableManifest } from './archive-export.ts';
import { childrenOf, hasChildren, hasContent, readManifestOrIndex } from './image-content.ts';
import { chosenEntries, platformChoice } from './platform-choice.ts';
import { ProgressReport } from './progress-report.ts';
import type { ImageDestination, ProgressSink } from './transfer.ts';
import type { ArchiveDestination } from './transfer-archive.ts';

export interface ImageExporterDependencies {
  readonly content: ContentStore;
  readonly images: ImageStore;
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
    await to.write(exportArchive(this.#deps.content, ctx, exported, to));
    report.stage('Completed export');
  }

  /** What of an image is asked for. Errors: NotFound (content), InvalidArgument (no image). */
  async #collect(
    ctx: NamespacedContext,
    target: Descriptor,
    to: ArchiveDestination,
  ): Promise<Omit<ExportedImage, 'image'>> {
    const pieces = new Map<Digest, Descriptor>();
    const loadables = new Map<Digest, LoadableManifest>();
    const visit = async (descriptor: Descriptor, depth: number): Promise<LoadableManifest | undefined> => {
      checkDepth(descriptor, depth);
      const { digest, mediaType } = descriptor;
      if (pieces.has(digest)) return loadables.get(digest);
      if (to.skipNonDistributable && isNonDistributable(mediaType)) return undefined;
      await this.#require(ctx, descriptor);
      pieces.set(digest, descriptor);
      if (!hasChildren(descriptor)) return undefined;
      const document = await readManifestOrIndex(this.#deps.content, ctx, descriptor);
      const isImage = document.kind === 'manifest' && isImageConfig(document.config.mediaType);
      let loadable = isImage ? { digest, manifest: document } : undefined;
      const children =
        document.kind === 'index' ? await this.#entries(ctx, descriptor, document, to) : childrenOf(document);
      for (const child of children) {
        const found = await visit(child, depth + 1);
        loadable ??= found;
      }
      if (loadable !== undefined) loadables.set(digest, loadable);
      return loadable;
    };
    const loadable = await visit(target, 0);
    return { pieces: [...pieces.values()], loadable };
  }

  /** Best first. Platforms that were not pulled are left out when all are asked for. Errors: NotFound when none is left. */
  async #entries(
    ctx: NamespacedContext,
    descriptor: Descriptor,
    index: ImageIndex,
    to: ArchiveDestination,
  ): Promise<readonly Descriptor[]> {
    const wanted = to.platforms.length > 0 ? to.platforms : [hostPlatform()];
    const best = platformChoice({
      platforms: wanted,
      allMetadata: false,
      manifestLimit: limits.manifestEntries,
    });
    if (!to.allPlatforms) return chosenEntries(index, best, descriptor.digest);
    const known = new Map<Digest, boolean>();
    const whole: Descriptor[] = [];
    for (const entry of bestFirst(index.manifests, best.matcher))
      if (await this.#isWhole(ctx, entry, to, known)) whole.push(entry);
    if (whole.length === 0 && index.manifests.length > 0)
      throw absent(
        `no platform of ${descriptor.digest} is here as a whole: pull the image for the platforms that are exported`,
      );
    return whole;
  }

  /** All that is under `descriptor` is here; of an index, something. */
  async #isWhole(
    ctx: NamespacedContext,
    descriptor: Descriptor,
    to: ArchiveDestination,
    known: Map<Digest, boolean>,
    depth = 1,
  ): Promise<boolean> {
    checkDepth(descriptor, depth);
    const seen = known.get(descriptor.digest);
    if (seen !== undefined) return seen;
    if (to.skipNonDistributable && isNonDistributable(descriptor.mediaType)) return true;
    let whole = await hasContent(this.#deps.content, ctx, descriptor);
    if (whole && hasChildren(descriptor)) {
      const document = await readManifestOrIndex(this.#deps.content, ctx, descriptor);
      const children = childrenOf(document);
      const states: boolean[] = [];
      for (const child of children) states.push(await this.#isWhole(ctx, child, to, known, depth + 1));
      whole = document.kind === 'index' ? states.includes(true) : !states.includes(false);
    }
    known.set(descriptor.digest, whole);
    return whole;
  }

  async #require(ctx: NamespacedContext, descriptor: Descriptor): Promise<void> {
    if (!(await hasContent(this.#deps.content, ctx, descriptor)))
      throw absent(
        `content ${descriptor.digest} of the image is not here: pull it for the platforms that are exported`,
      );
  }
}

function checkDepth({ digest }: Descriptor, depth: number): void {
  if (depth > limits.indexDepth)
    throw invalidArgument(`more than ${limits.indexDepth} indexes within each other, at ${digest}`);
}

const bestFirst = (entries: readonly Descriptor[], matcher: PlatformMatcher): readonly Descriptor[] =>
  entries.toSorted((a, b) =>
    a.platform === undefined || b.platform === undefined
      ? Number(a.platform === undefined) - Number(b.platform === undefined)
      : matcher.compare(a.platform, b.platform),
  );

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
