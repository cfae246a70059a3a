/** The story of an import: an archive into the content store, its images unpacked and named by its own words. */
import type { NamespacedContext } from '../../base/context.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { importArchive } from './archive-import.ts';
import { readManifestOrIndex } from './image-content.ts';
import { ImageFetch } from './image-fetch.ts';
import { storeImage } from './image-names.ts';
import { importedNames } from './imported-names.ts';
import { type PlatformChoice, platformChoice, type UnpackChoice, unpackChoices } from './platform-choice.ts';
import { ProgressReport } from './progress-report.ts';
import type { ImageDestination, ProgressSink } from './transfer.ts';
import type { ArchiveSource } from './transfer-archive.ts';
import type { IncomingDependencies } from './transfer-stores.ts';
import { Unpacker } from './unpacker.ts';

export class ImageImporter {
  readonly #deps: IncomingDependencies;

  constructor(dependencies: IncomingDependencies) {
    this.#deps = dependencies;
  }

  /**
   * `into.name`, when given, names the archive's index itself; `into.extraReferences` say how its images are named.
   * Errors: InvalidArgument (no image archive), NotFound (content that the archive does not hold).
   */
  async import(
    ctx: NamespacedContext,
    from: ArchiveSource,
    into: ImageDestination,
    progress: ProgressSink,
  ): Promise<readonly string[]> {
    const { content, transferLeases, snapshotters } = this.#deps;
    const unpacks = unpackChoices(into.unpacks, snapshotters);
    const report = new ProgressReport(progress);
    report.stage('Importing');
    const lease = await transferLeases.take(ctx, 'import');
    try {
      const index = await importArchive(content, lease.ctx, from);
      await this.#complete(lease.ctx, index, { platforms: platformChoice(into), unpacks, report });
      return await this.#name(lease.ctx, index, into, report);
    } finally {
      // What an archive held can be had again by another import.
      await lease.end('done');
      report.stage('Completed import');
    }
  }

  /** Labels the tree and unpacks it; all content must be there by now. */
  async #complete(
    ctx: NamespacedContext,
    index: Descriptor,
    {
      platforms,
      unpacks,
      report,
    }: { platforms: PlatformChoice; unpacks: readonly UnpackChoice[]; report: ProgressReport },
  ): Promise<void> {
    const { content, leases, differs, snapshotLocks } = this.#deps;
    const source = {
      fetch: async (inner: NamespacedContext, { digest }: Descriptor): Promise<void> => {
        await content.info(inner, digest);
      },
    };
    const unpacker = new Unpacker({ content, leases, differs, report, snapshotLocks });
    const fetch = new ImageFetch(ctx, { content, source, unpacker, report }, { platforms, unpacks });
    await fetch.run(index);
  }

  async #name(
    ctx: NamespacedContext,
    index: Descriptor,
    into: ImageDestination,
    report: ProgressReport,
  ): Promise<readonly string[]> {
    const { content, images } = this.#deps;
    const document = await readManifestOrIndex(content, ctx, index);
    const entries = document.kind === 'index' ? document.manifests : [];
    const named = [
      ...(into.name === '' ? [] : [{ name: into.name, target: index }]),
      ...entries.flatMap((target) =>
        importedNames(target, into.extraReferences ?? []).map((name) => ({ name, target })),
      ),
    ];
    for (const { name, target } of named) {
      await storeImage(images, ctx, { name, target, labels: into.labels });
      report.saved(name, target);
    }
    return named.map(({ name }) => name);
  }
}
