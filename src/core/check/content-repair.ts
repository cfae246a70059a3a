/**
 * Bringing a blob back from a registry: from the repositories its labels name, then from those of the images that have
 * it. The bytes are verified in an ingest of their own and replace what is there in one step; a registry that wants
 * credentials is not asked for them twice, for a check has none.
 */
import type { Context } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { absent, ContainerdError, codedError, failedPrecondition } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import type { KeyedLock } from '../../base/keyed-lock.ts';
import type { Labels } from '../../base/labels.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import { parseReference } from '../../oci/reference.ts';
import type { BlobStore } from '../content/blob-store.ts';
import type { Registry } from '../registry/registry.ts';

export interface ContentRepairDependencies {
  readonly blobs: BlobStore;
  readonly registry: Registry;
  readonly blobGate: KeyedLock;
}

export interface ContentRepairOptions {
  readonly defaultScheme?: 'http' | 'https';
}

export interface WantedBlob {
  readonly digest: Digest;
  /** As an image has it; undefined when none does. */
  readonly descriptor: Descriptor | undefined;
  /** By its record: what a registry may send at most when no image tells. */
  readonly sizeBytes: number;
  readonly labels: readonly Labels[];
  readonly imageNames: readonly string[];
}

const sourcePrefix = 'containerd.io/distribution.source.';

export class ContentRepair {
  readonly #deps: ContentRepairDependencies;
  readonly #options: ContentRepairOptions;

  constructor(dependencies: ContentRepairDependencies, options: ContentRepairOptions) {
    this.#deps = dependencies;
    this.#options = options;
  }

  /** The repositories to ask, as `HOST/REPOSITORY`. */
  sourcesOf({ labels, imageNames }: Pick<WantedBlob, 'labels' | 'imageNames'>): string[] {
    const sources = new Set<string>();
    for (const [key, value] of labels.flatMap((map) => Object.entries(map)))
      if (key.startsWith(sourcePrefix))
        for (const repository of value.split(','))
          if (repository !== '') sources.add(`${key.slice(sourcePrefix.length)}/${repository}`);
    for (const name of imageNames) {
      const repository = repositoryOf(name);
      if (repository !== undefined) sources.add(repository);
    }
    return [...sources];
  }

  /**
   * When it resolves the blob is in the store, whole. Returns where it came from and its size.
   * Errors: NotFound when every source says that it has it no more (or there is none); when one could not be asked,
   * what kept it; Canceled.
   */
  async fetch(ctx: Context, blob: WantedBlob): Promise<{ source: string; sizeBytes: number }> {
    const failures: { source: string; error: ContainerdError }[] = [];
    for (const source of this.sourcesOf(blob))
      try {
        return { source, sizeBytes: await this.#fetchFrom(ctx, source, blob) };
      } catch (error) {
        if (ctx.signal.aborted) throw error;
        failures.push({ source, error: ContainerdError.from(error) });
      }
    if (failures.length === 0) throw absent('nothing says from which registry it came');
    const code = failures.find(({ error }) => error.code !== 'NotFound')?.error.code ?? 'NotFound';
    const reasons = failures.map(({ source, error }) => `${source}: ${error.message}`);
    throw codedError(code, `no registry gives it (${reasons.join('; ')})`);
  }

  async #fetchFrom(ctx: Context, source: string, blob: WantedBlob): Promise<number> {
    const { digest, descriptor, sizeBytes } = blob;
    const { registry, blobs, blobGate } = this.#deps;
    const { client } = await registry.open({ reference: `${source}@${digest}`, ...this.#options });
    // Of a document the registry has it among the manifests, and of unknown blobs it might.
    const wanted = descriptor ?? { digest, mediaType: mediaTypes.ociManifest, sizeBytes };
    await using remote = await client.fetch(wanted, { signal: ctx.signal });
    await using writer = await blobs.writer({ ref: parseIngestRef(`check/${digest}`) }, `check of ${digest}`);
    await writer.truncate(0);
    let received = 0;
    for await (const chunk of remote.body) {
      received += chunk.byteLength;
      if (received > wanted.sizeBytes)
        throw failedPrecondition(`it sends more than the ${wanted.sizeBytes} bytes that the blob has`);
      await writer.write(chunk);
    }
    using _gate = await blobGate.acquire(digest);
    return (await writer.commit({ expected: digest, replace: true })).sizeBytes;
  }
}

/** Undefined for names that are no references. */
function repositoryOf(name: string): string | undefined {
  try {
    const { host, repository } = parseReference(name);
    return `${host}/${repository}`;
  } catch {
    return undefined;
  }
}
