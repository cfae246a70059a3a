/** containerd.services.content.v1; the story of a write is in content-write.ts. */
import { create } from '@bufbuild/protobuf';
import { type NamespacedContext, requireNamespace } from '../base/context.ts';
import { parseDigest } from '../base/digest.ts';
import { outOfRange, wrap } from '../base/errors.ts';
import { parseIngestRef } from '../base/identifiers.ts';
import { limits } from '../base/limits.ts';
import {
  type ContentInfo,
  type ContentStore,
  type IngestStatus,
  ingestNotFound,
} from '../core/content/content-store.ts';
import { countOf } from '../wire/convert.ts';
import {
  Content,
  InfoSchema,
  StatusSchema,
  type Info as WireInfo,
  type Status as WireStatus,
} from '../wire/gen/containerd/services/content/v1/content_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';
import { writeContent } from './content-write.ts';
import { blocksOf, lookup, maskPaths, required } from './convert.ts';

export interface ContentServiceDependencies {
  /** The namespaced view. */
  readonly content: ContentStore;
}

const infoToWire = (info: ContentInfo): WireInfo =>
  create(InfoSchema, {
    digest: info.digest,
    size: BigInt(info.sizeBytes),
    createdAt: timestampOf(info.createdAt),
    updatedAt: timestampOf(info.updatedAt),
    labels: { ...info.labels },
  });

const statusToWire = (status: IngestStatus): WireStatus =>
  create(StatusSchema, {
    startedAt: timestampOf(status.startedAt),
    updatedAt: timestampOf(status.updatedAt),
    ref: status.ref,
    offset: BigInt(status.offsetBytes),
    total: BigInt(status.totalBytes),
    expected: status.expected ?? '',
  });

/** Errors: NotFound, in the words that containerd's clients show. */
async function statusOf(content: ContentStore, ctx: NamespacedContext, ref: string): Promise<IngestStatus> {
  try {
    return await content.status(ctx, lookup(ingestNotFound, parseIngestRef, ref));
  } catch (error) {
    throw wrap(`could not get status for ref ${JSON.stringify(ref)}`, error);
  }
}

/** What of a blob a read means: a negative offset is 0, no size or one beyond the end is to the end. */
function rangeOf(
  request: { offset: bigint; size: bigint },
  sizeBytes: number,
): { offset: number; lengthBytes: number } {
  const offset = request.offset < 0n ? 0 : countOf(request.offset, 'offset');
  if (offset > sizeBytes) throw outOfRange(`read past object length ${sizeBytes} bytes`);
  const rest = sizeBytes - offset;
  const lengthBytes = request.size <= 0n || request.size > BigInt(rest) ? rest : Number(request.size);
  return { offset, lengthBytes };
}

export const contentService = ({ content }: ContentServiceDependencies): ServedService =>
  serve(Content, {
    info: async (ctx, { digest }) => ({
      info: infoToWire(await content.info(requireNamespace(ctx), parseDigest(digest))),
    }),
    update: async (ctx, { info, updateMask }) => {
      const { digest, labels } = required(info, 'content info');
      const given = { digest: parseDigest(digest), labels };
      return {
        info: infoToWire(await content.update(requireNamespace(ctx), given, maskPaths(updateMask))),
      };
    },
    async *list(ctx, { filters }) {
      for await (const block of blocksOf(content.list(requireNamespace(ctx), filters), limits.listBlock))
        yield { info: block.map(infoToWire) };
    },
    delete: async (ctx, { digest }) => {
      await content.delete(requireNamespace(ctx), parseDigest(digest));
      return {};
    },
    async *read(ctx, request) {
      await using reader = await content.open(requireNamespace(ctx), parseDigest(request.digest));
      const range = rangeOf(request, reader.sizeBytes);
      // The offsets of the replies count from the start of this read, as containerd's do.
      let offset = 0n;
      for await (const data of reader.stream({ ...range, signal: ctx.signal })) {
        yield { offset, data };
        offset += BigInt(data.byteLength);
      }
    },
    status: async (ctx, { ref }) => ({
      status: statusToWire(await statusOf(content, requireNamespace(ctx), ref)),
    }),
    listStatuses: async (ctx, { filters }) => ({
      statuses: (await content.listStatuses(requireNamespace(ctx), filters)).map(statusToWire),
    }),
    write: (ctx, requests) => writeContent(content, requireNamespace(ctx), requests),
    abort: async (ctx, { ref }) => {
      await content.abort(requireNamespace(ctx), lookup(ingestNotFound, parseIngestRef, ref));
      return {};
    },
  });
