/**
 * The story of a push: the image's tree is read from the content store, blobs go first and side by side, then manifests
 * from the inside out, the one with the tag last, so that the registry never names what it does not hold.
 */
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import { absent, ContainerdError, hasCode, invalidArgument, wrap } from '../../base/errors.ts';
import { parseImageName } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { Semaphore } from '../../base/semaphore.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { isNonDistributable } from '../../oci/media-types.ts';
import type { Platform } from '../../oci/platform.ts';
import type { ContentStore } from '../content/content-store.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { OpenRepository, Registry } from '../registry/registry.ts';
import { permitOf } from './content-fetcher.ts';
import { sourceRepositories } from './distribution-source.ts';
import { childrenOf, hasChildren, readDocument, readManifestOrIndex } from './image-content.ts';
import { chosenEntries, type PlatformChoice, platformChoice } from './platform-choice.ts';
import { ProgressReport } from './progress-report.ts';
import { TaskGroup } from './task-group.ts';
import type { ProgressSink, RegistryEndpoint } from './transfer.ts';

export interface ImagePusherDependencies {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly registry: Registry;
}

export interface ImagePusherOptions {
  /** Blobs on their way at once, over all pushes. */
  readonly maxConcurrentUploads: number;
}

export class ImagePusher {
  readonly #deps: ImagePusherDependencies;
  readonly #uploads: Semaphore;

  constructor(dependencies: ImagePusherDependencies, options: ImagePusherOptions) {
    this.#deps = dependencies;
    this.#uploads = new Semaphore(atLeastOne(options.maxConcurrentUploads));
  }

  /** For what begins from now on; uploads under way go on. */
  limitUploads(maxConcurrentUploads: number): void {
    this.#uploads.resize(atLeastOne(maxConcurrentUploads));
  }

  /**
   * `name` is the image in the store; no platforms means all that the image has.
   * Errors: NotFound (image, content), Unauthenticated, PermissionDenied, Unavailable.
   */
  async push(
    ctx: NamespacedContext,
    from: { readonly name: string; readonly platforms: readonly Platform[] },
    to: RegistryEndpoint,
    progress: ProgressSink,
  ): Promise<void> {
    const report = new ProgressReport(progress);
    const image = await this.#deps.images.get(ctx, parseImageName(from.name));
    report.stage(`Pushing to OCI Registry (${to.reference})`);
    report.root('pushing content', image.name, image.target);
    const repository = await this.#deps.registry.open(to);
    const tree = await this.#collect(
      ctx,
      image.target,
      platformChoice({ ...from, allMetadata: false, manifestLimit: 0 }),
      report,
    );
    await this.#pushBlobs(ctx, repository, tree.blobs, report);
    const { reference } = repository.client.session;
    for (const manifest of tree.manifests) {
      const isRoot = manifest.digest === image.target.digest;
      await this.#pushManifest(ctx, repository, manifest, isRoot ? reference.tag : undefined, report);
    }
    report.root('pushed content', image.name, image.target);
    report.stage(`Completed push to OCI Registry (${to.reference})`, image.target);
  }

  /** Blobs in any order, manifests children first; each once. */
  async #collect(
    ctx: NamespacedContext,
    target: Descriptor,
    choice: PlatformChoice,
    report: ProgressReport,
  ): Promise<PushTree> {
    const blobs = new Map<string, Descriptor>();
    const manifests = new Map<string, Descriptor>();
    const visit = async (descriptor: Descriptor, depth: number): Promise<void> => {
      if (depth > limits.indexDepth)
        throw invalidArgument(
          `more than ${limits.indexDepth} indexes within each other, at ${descriptor.digest}`,
        );
      if (!hasChildren(descriptor)) {
        // Registries need not hold these, and their owners do not want them spread.
        if (!isNonDistributable(descriptor.mediaType)) blobs.set(descriptor.digest, descriptor);
        return;
      }
      if (manifests.has(descriptor.digest)) return;
      const document = await readManifestOrIndex(this.#deps.content, ctx, descriptor);
      const children =
        document.kind === 'index' ? chosenEntries(document, choice, descriptor.digest) : childrenOf(document);
      // Before the blobs: a display hangs them into what it has seen.
      report.waiting(descriptor);
      report.setChildren(descriptor, children);
      for (const child of children) await visit(child, depth + 1);
      manifests.set(descriptor.digest, descriptor);
    };
    await visit(target, 0);
    return { blobs: [...blobs.values()], manifests: [...manifests.values()] };
  }

  async #pushBlobs(
    ctx: NamespacedContext,
    repository: OpenRepository,
    blobs: readonly Descriptor[],
    report: ProgressReport,
  ): Promise<void> {
    const group = new TaskGroup(ctx.signal);
    const inner = withSignal(ctx, group.signal);
    for (const blob of blobs) {
      report.waiting(blob);
      void group.run(() => this.#pushBlob(inner, repository, blob, report)).catch(() => {});
    }
    await group.done();
  }

  async #pushBlob(
    ctx: NamespacedContext,
    { client, pusher }: OpenRepository,
    blob: Descriptor,
    report: ProgressReport,
  ): Promise<void> {
    using _ = await permitOf(this.#uploads, ctx.signal);
    const { content } = this.#deps;
    const { host } = client.session.reference;
    const info = await content.info(ctx, blob.digest).catch((error: unknown) => {
      throw missing(blob, error);
    });
    await using reader = await content.open(ctx, blob.digest);
    const open = (): AsyncIterable<Uint8Array> =>
      counted(reader.stream({ signal: ctx.signal }), (sent) => report.moving('uploading', blob, sent));
    const mountFrom = sourceRepositories(host, info.labels);
    try {
      const result = await pusher.pushBlob(blob, open, { mountFrom, signal: ctx.signal });
      // Nothing was sent of what another repository of the registry lent.
      if (result === 'pushed') report.complete(blob);
      else report.exists(blob);
    } catch (error) {
      throw wrap(`failed to push ${blob.digest}`, error);
    }
  }

  async #pushManifest(
    ctx: NamespacedContext,
    { pusher }: OpenRepository,
    manifest: Descriptor,
    tag: string | undefined,
    report: ProgressReport,
  ): Promise<void> {
    const bytes = await readDocument(this.#deps.content, ctx, manifest);
    try {
      const result = await pusher.pushManifest(manifest, bytes, { tag, signal: ctx.signal });
      if (result === 'exists') report.exists(manifest);
      else report.complete(manifest);
    } catch (error) {
      throw wrap(`failed to push manifest ${manifest.digest}`, error);
    }
  }
}

interface PushTree {
  readonly blobs: readonly Descriptor[];
  readonly manifests: readonly Descriptor[];
}

const missing = (blob: Descriptor, error: unknown): ContainerdError =>
  hasCode(error, 'NotFound')
    ? absent(
        `content ${blob.digest} of the image is not here: pull it, or push only the platforms that are`,
        error,
      )
    : ContainerdError.from(error);

async function* counted(
  bytes: AsyncIterable<Uint8Array>,
  onCount: (sentBytes: number) => void,
): AsyncGenerator<Uint8Array, void> {
  let sentBytes = 0;
  for await (const chunk of bytes) {
    sentBytes += chunk.byteLength;
    onCount(sentBytes);
    yield chunk;
  }
}

const atLeastOne = (count: number): number => Math.max(count, 1);
