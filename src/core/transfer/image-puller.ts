/**
 * The story of a pull: resolve, bring the tree in under a lease while layers are unpacked, name the image last.
 * See docs/walks/pull.md. Nothing of a pull that failed is visible but what was verified, under its lease.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { wrap } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { Semaphore } from '../../base/semaphore.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { OpenRepository, Registry } from '../registry/registry.ts';
import { ContentFetcher } from './content-fetcher.ts';
import { ImageFetch } from './image-fetch.ts';
import { storeImage } from './image-names.ts';
import { type ImageVerifiers, refuseUnverified } from './image-verification.ts';
import { platformChoice, type UnpackChoice, unpackChoices } from './platform-choice.ts';
import { ProgressReport } from './progress-report.ts';
import type { ImageDestination, ProgressSink, Puller, RegistryEndpoint } from './transfer.ts';
import type { TransferLease } from './transfer-leases.ts';
import type { IncomingDependencies } from './transfer-stores.ts';
import { Unpacker } from './unpacker.ts';

export interface ImagePullerDependencies extends IncomingDependencies {
  readonly registry: Registry;
  /** Asked once the reference is resolved, before anything is fetched. */
  readonly verifiers?: ImageVerifiers;
}

export interface ImagePullerOptions {
  /** Blobs on their way at once, over all pulls. */
  readonly maxConcurrentDownloads: number;
}

export class ImagePuller implements Puller {
  readonly #deps: ImagePullerDependencies;
  readonly #downloads: Semaphore;
  readonly #blobLocks = new KeyedLock();

  constructor(dependencies: ImagePullerDependencies, options: ImagePullerOptions) {
    this.#deps = dependencies;
    this.#downloads = new Semaphore(atLeastOne(options.maxConcurrentDownloads));
  }

  /** For what begins from now on; downloads under way go on. */
  limitDownloads(maxConcurrentDownloads: number): void {
    this.#downloads.resize(atLeastOne(maxConcurrentDownloads));
  }

  async pull(
    ctx: NamespacedContext,
    from: RegistryEndpoint,
    into: ImageDestination,
    progress: ProgressSink,
  ): Promise<{ name: string; target: Descriptor }> {
    const { images, transferLeases, registry, verifiers = new Map() } = this.#deps;
    const unpacks = unpackChoices(into.unpacks, this.#deps.snapshotters);
    const report = new ProgressReport(progress);
    const source = `OCI Registry (${from.reference})`;
    const name = into.name || from.reference;

    report.stage(`Resolving from ${source}`);
    const repository = await registry.open(from);
    const target = await resolve(repository, ctx);
    await refuseUnverified(ctx, verifiers, from.reference, target);
    report.stage(`Pulling from ${source}`);
    report.root('fetching image content', name);

    const lease = await transferLeases.take(ctx, from.reference);
    try {
      await this.#bring(lease, repository, target, { into, unpacks, report });
      await into.beforeNaming?.(lease.ctx, target);
      await storeImage(images, lease.ctx, { name, target, labels: into.labels });
    } catch (error) {
      await lease.end('failed');
      throw error;
    }
    await lease.end('done');
    report.saved(name, target);
    report.stage(`Completed pull from ${source}`, target);
    return { name, target };
  }

  async #bring(
    lease: TransferLease,
    { client }: OpenRepository,
    target: Descriptor,
    { into, unpacks, report }: PullPlan,
  ): Promise<void> {
    const { content, leases, differs, snapshotLocks } = this.#deps;
    const fetcher = new ContentFetcher({
      content,
      client,
      reference: client.session.reference,
      report,
      downloads: this.#downloadsOf(into),
      blobLocks: this.#blobLocks,
      onStored: () => lease.noteProgress(),
    });
    const unpacker = new Unpacker({ content, leases, differs, report, snapshotLocks });
    const fetch = new ImageFetch(
      lease.ctx,
      { content, source: fetcher, unpacker, report },
      { platforms: platformChoice(into), unpacks },
    );
    await fetch.run(target);
  }

  #downloadsOf({ maxConcurrentDownloads }: ImageDestination): Semaphore {
    return maxConcurrentDownloads === undefined
      ? this.#downloads
      : new Semaphore(atLeastOne(maxConcurrentDownloads));
  }
}

interface PullPlan {
  readonly into: ImageDestination;
  readonly unpacks: readonly UnpackChoice[];
  readonly report: ProgressReport;
}

async function resolve({ client }: OpenRepository, ctx: NamespacedContext): Promise<Descriptor> {
  try {
    return await client.resolve({ signal: ctx.signal });
  } catch (error) {
    throw wrap('failed to resolve image', error);
  }
}

const atLeastOne = (count: number): number => Math.max(count, 1);
