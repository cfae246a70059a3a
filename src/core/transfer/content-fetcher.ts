/**
 * One piece of content from a registry into the content store, once: whoever wants the same at the same time waits for
 * the first. Downloads go through content ingests, so one that was cut goes on where it ended, in this pull or the
 * next. Nothing is visible before its digest and size hold.
 */
import { backoffMs, pause } from '../../base/backoff.ts';
import { raceSignal } from '../../base/bounded-wait.ts';
import { checkSignal, type NamespacedContext } from '../../base/context.ts';
import { failedPrecondition, hasCode, unavailable, wrap } from '../../base/errors.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import type { KeyedLock } from '../../base/keyed-lock.ts';
import { limits } from '../../base/limits.ts';
import type { Semaphore } from '../../base/semaphore.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { ingestRefOf } from '../../oci/media-types.ts';
import type { Reference } from '../../oci/reference.ts';
import type { ContentStore, ContentWriter } from '../content/content-store.ts';
import { LayerFeed } from '../diff/layer-feed.ts';
import type { RegistryClient, RemoteContent } from '../registry/registry-client.ts';
import { distributionSource } from './distribution-source.ts';
import { hasContent } from './image-content.ts';
import type { ProgressReport } from './progress-report.ts';

const lockedIngest = { firstMs: limits.lockedIngestMs, maxMs: limits.lockedIngestMaxMs };

export interface ContentFetcherDependencies {
  readonly content: ContentStore;
  readonly client: RegistryClient;
  readonly reference: Reference;
  readonly report: ProgressReport;
  /** Shared by all pulls of the daemon, as the locks are. */
  readonly downloads: Semaphore;
  readonly blobLocks: KeyedLock;
  /** Called after each piece that was not there before. */
  readonly onStored: () => void;
}

export class ContentFetcher {
  readonly #deps: ContentFetcherDependencies;

  constructor(dependencies: ContentFetcherDependencies) {
    this.#deps = dependencies;
  }

  /**
   * When it resolves the content is there, in the caller's lease, and labelled with where it came from.
   * `follow` is given the bytes as they come, if they do; they may still turn out wrong.
   * Errors: FailedPrecondition (other digest or size), NotFound, Unauthenticated, Unavailable, Canceled.
   */
  async fetch(ctx: NamespacedContext, descriptor: Descriptor, follow?: FeedTaker): Promise<void> {
    const { report, blobLocks, onStored, downloads } = this.#deps;
    using _ = await blobLocks.acquire(`blob://${descriptor.digest}`, { signal: ctx.signal });
    const isThere = await hasContent(this.#deps.content, ctx, descriptor);
    if (!isThere) report.waiting(descriptor);
    // Before the ingest is opened: an image may have more layers than we may have descriptors.
    using _permit = isThere ? undefined : await permitOf(downloads, ctx.signal);
    if ((await this.#store(ctx, descriptor, follow)) === 'exists') return report.exists(descriptor);
    onStored();
    report.complete(descriptor);
  }

  async #store(
    ctx: NamespacedContext,
    descriptor: Descriptor,
    follow: FeedTaker | undefined,
  ): Promise<'exists' | 'stored'> {
    for (;;) {
      await using writer = await this.#openWriter(ctx, descriptor);
      if (writer === undefined) {
        await this.#labelExisting(ctx, descriptor);
        return 'exists';
      }
      const isResumed = writer.status().offsetBytes > 0;
      await using feed = follow === undefined ? undefined : await feedOf(writer);
      if (feed !== undefined) follow?.(feed);
      try {
        await this.#download(ctx, descriptor, writer, feed);
        feed?.complete();
        await this.#commit(ctx, descriptor, writer);
        return 'stored';
      } catch (error) {
        feed?.abandon();
        if (!hasCode(error, 'FailedPrecondition')) throw error;
        // Wrong bytes must not be where the next try begins; they may be those of an earlier one.
        await this.#discard(ctx, descriptor, writer);
        if (!isResumed) throw error;
        ctx.log.info({ digest: descriptor.digest, reason: String(error) }, 'download starts anew');
      }
    }
  }

  /** Undefined when the blob is there; it has joined the lease then. */
  async #openWriter(ctx: NamespacedContext, descriptor: Descriptor): Promise<ContentWriter | undefined> {
    const options = {
      ref: parseIngestRef(ingestRefOf(descriptor)),
      totalBytes: descriptor.sizeBytes,
      expected: descriptor.digest,
    };
    for (let failures = 1; ; failures += 1) {
      try {
        return await this.#deps.content.writer(ctx, options);
      } catch (error) {
        if (hasCode(error, 'AlreadyExists')) return undefined;
        // A client writes the same blob: it may finish, or leave its part to us.
        if (!hasCode(error, 'Unavailable')) throw error;
        await pause(backoffMs(failures, lockedIngest), ctx.signal);
      }
    }
  }

  async #download(
    ctx: NamespacedContext,
    descriptor: Descriptor,
    writer: ContentWriter,
    feed: LayerFeed | undefined,
  ): Promise<void> {
    if (writer.status().offsetBytes > descriptor.sizeBytes) await restart(writer, feed);
    if (writer.status().offsetBytes === descriptor.sizeBytes) return;
    for (let failures = 0; ; ) {
      const offset = writer.status().offsetBytes;
      // Asking has second tries of its own: here it is only about answers that were cut.
      await using remote = await this.#deps.client.fetch(descriptor, { offset, signal: ctx.signal });
      try {
        await this.#receive(remote, descriptor, writer, feed);
        return;
      } catch (error) {
        checkSignal(ctx.signal);
        const gained = writer.status().offsetBytes - offset;
        failures = gained >= limits.registryProgressBytes ? 1 : failures + 1;
        if (!hasCode(error, 'Unavailable') || failures >= limits.registryAttempts) throw error;
        ctx.log.info(
          { digest: descriptor.digest, offset: writer.status().offsetBytes, reason: String(error) },
          'download was cut and goes on',
        );
        await pause(backoffMs(failures, { firstMs: limits.registryBackoffMs }), ctx.signal);
      }
    }
  }

  /** Errors: Unavailable when the answer ends early, FailedPrecondition when it is too long. */
  async #receive(
    remote: RemoteContent,
    descriptor: Descriptor,
    writer: ContentWriter,
    feed: LayerFeed | undefined,
  ): Promise<void> {
    const { report } = this.#deps;
    const { digest, sizeBytes } = descriptor;
    if (remote.offset !== writer.status().offsetBytes) await restart(writer, feed);
    let received = remote.offset;
    for await (const chunk of remote.body) {
      received += chunk.byteLength;
      if (received > sizeBytes)
        throw failedPrecondition(`${remote.host} sends more than the ${sizeBytes} bytes that ${digest} has`);
      await writer.write(chunk);
      feed?.advance(received);
      report.moving('downloading', descriptor, received);
    }
    if (received < sizeBytes)
      throw unavailable(`${remote.host} ended ${digest} after ${received} of ${sizeBytes} bytes`);
  }

  async #commit(ctx: NamespacedContext, descriptor: Descriptor, writer: ContentWriter): Promise<void> {
    const { reference } = this.#deps;
    const { digest, sizeBytes } = descriptor;
    const source = distributionSource(reference, {});
    try {
      await writer.commit(ctx, {
        sizeBytes,
        expected: digest,
        labels: source === undefined ? {} : { [source.key]: source.value },
      });
    } catch (error) {
      if (hasCode(error, 'AlreadyExists')) return this.#labelExisting(ctx, descriptor);
      throw wrap(`content of ${reference.host}/${reference.repository}`, error);
    }
  }

  async #discard(ctx: NamespacedContext, descriptor: Descriptor, writer: ContentWriter): Promise<void> {
    await writer[Symbol.asyncDispose]();
    try {
      await this.#deps.content.abort(ctx, parseIngestRef(ingestRefOf(descriptor)));
    } catch (error) {
      if (!hasCode(error, 'NotFound')) ctx.log.warn({ error: String(error) }, 'bad ingest is left behind');
    }
  }

  async #labelExisting(ctx: NamespacedContext, { digest, sizeBytes }: Descriptor): Promise<void> {
    const { content, reference } = this.#deps;
    const info = await content.info(ctx, digest);
    if (info.sizeBytes !== sizeBytes)
      throw failedPrecondition(`${digest} has ${info.sizeBytes} bytes, its descriptor says ${sizeBytes}`);
    const source = distributionSource(reference, info.labels);
    if (source === undefined) return;
    await content.update(ctx, { digest, labels: { [source.key]: source.value } }, [`labels.${source.key}`]);
  }
}

/** Takes the bytes of a blob while they come. */
export type FeedTaker = (feed: LayerFeed) => void;

/** Undefined when there is no file to follow. */
async function feedOf(writer: ContentWriter): Promise<LayerFeed | undefined> {
  const file = await writer.openFile?.();
  if (file === undefined) return undefined;
  const feed = new LayerFeed(file);
  feed.advance(writer.status().offsetBytes);
  return feed;
}

/** Who has followed so far has seen other bytes than those that come now. */
async function restart(writer: ContentWriter, feed: LayerFeed | undefined): Promise<void> {
  feed?.abandon();
  await writer.truncate(0);
}

/** A permit that nobody waits for any more goes back as soon as it comes. */
export async function permitOf(semaphore: Semaphore, signal: AbortSignal): Promise<Disposable> {
  const acquired = semaphore.acquire();
  try {
    return await raceSignal(acquired, signal);
  } catch (error) {
    void acquired.then((permit) => permit[Symbol.dispose]());
    throw error;
  }
}
