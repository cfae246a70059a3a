/** A content store that another program serves (containerd.services.content.v1). */
import type { NamespacedContext } from '../../base/context.ts';
import { type Digest, parseDigest } from '../../base/digest.ts';
import { dataLoss } from '../../base/errors.ts';
import { type IngestRef, parseIngestRef } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { instantOfNs } from '../../base/time.ts';
import { countOf } from '../../wire/convert.ts';
import { Content, type Info, type Status } from '../../wire/gen/containerd/services/content/v1/content_pb.js';
import type { Client } from '../../wire/service.ts';
import { instantOf } from '../../wire/timestamps.ts';
import { type RemotePlugin, remoteOptions } from '../plugins/remote-plugin.ts';
import type {
  ContentInfo,
  ContentReader,
  ContentStore,
  ContentWriter,
  IngestStatus,
  WriterOptions,
} from './content-store.ts';
import { ProxyReader } from './proxy-reader.ts';
import { ProxyWriter } from './proxy-writer.ts';

export class ProxyContentStore implements ContentStore {
  readonly #remote: RemotePlugin;
  readonly #client: Client<typeof Content>;

  constructor({ remote }: { remote: RemotePlugin }) {
    this.#remote = remote;
    this.#client = remote.client(Content);
  }

  async info(ctx: NamespacedContext, digest: Digest): Promise<ContentInfo> {
    const { info } = await this.#remote.ask(this.#client.info({ digest }, remoteOptions(ctx)));
    return infoOf(info);
  }

  async update(
    ctx: NamespacedContext,
    { digest, labels }: { digest: Digest; labels: Labels },
    paths: readonly string[],
  ): Promise<ContentInfo> {
    const request = {
      info: { digest, labels: { ...labels } },
      ...(paths.length > 0 && { updateMask: { paths: [...paths] } }),
    };
    const { info } = await this.#remote.ask(this.#client.update(request, remoteOptions(ctx)));
    return infoOf(info);
  }

  async *list(ctx: NamespacedContext, filters: readonly string[]): AsyncGenerator<ContentInfo> {
    const blocks = this.#client.list({ filters: [...filters] }, remoteOptions(ctx));
    for await (const { info } of this.#remote.follow(blocks)) for (const each of info) yield infoOf(each);
  }

  async delete(ctx: NamespacedContext, digest: Digest): Promise<void> {
    await this.#remote.ask(this.#client.delete({ digest }, remoteOptions(ctx)));
  }

  async open(ctx: NamespacedContext, digest: Digest): Promise<ContentReader> {
    const { sizeBytes } = await this.info(ctx, digest);
    return new ProxyReader({ remote: this.#remote }, ctx, { digest, sizeBytes });
  }

  async status(ctx: NamespacedContext, ref: IngestRef): Promise<IngestStatus> {
    const { status } = await this.#remote.ask(this.#client.status({ ref }, remoteOptions(ctx)));
    return statusOf(status);
  }

  async listStatuses(ctx: NamespacedContext, filters: readonly string[]): Promise<IngestStatus[]> {
    const request = { filters: [...filters] };
    const { statuses } = await this.#remote.ask(this.#client.listStatuses(request, remoteOptions(ctx)));
    return statuses.map(statusOf);
  }

  async writer(ctx: NamespacedContext, options: WriterOptions): Promise<ContentWriter> {
    const writer = await ProxyWriter.open({ remote: this.#remote }, ctx, options);
    const { offsetBytes, totalBytes } = writer.status();
    if (offsetBytes === 0 || totalBytes > 0) return writer;
    // The stream tells only what it was told itself; what an earlier one announced stands in the status.
    try {
      writer.announced((await this.status(ctx, options.ref)).totalBytes);
      return writer;
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
  }

  async abort(ctx: NamespacedContext, ref: IngestRef): Promise<void> {
    await this.#remote.ask(this.#client.abort({ ref }, remoteOptions(ctx)));
  }
}

function infoOf(info: Info | undefined): ContentInfo {
  if (info === undefined) throw dataLoss('the content store answered without saying of which content');
  return {
    digest: parseDigest(info.digest),
    sizeBytes: countOf(info.size, 'content size'),
    createdAt: instantOf(info.createdAt) ?? instantOfNs(0n),
    updatedAt: instantOf(info.updatedAt) ?? instantOfNs(0n),
    labels: info.labels,
  };
}

function statusOf(status: Status | undefined): IngestStatus {
  if (status === undefined) throw dataLoss('the content store answered without saying of which ingest');
  return {
    ref: parseIngestRef(status.ref),
    offsetBytes: countOf(status.offset, 'offset'),
    totalBytes: countOf(status.total, 'total'),
    expected: status.expected === '' ? undefined : parseDigest(status.expected),
    startedAt: instantOf(status.startedAt) ?? instantOfNs(0n),
    updatedAt: instantOf(status.updatedAt) ?? instantOfNs(0n),
  };
}
