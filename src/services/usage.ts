/** gantry.usage.v1: what uses the disk. */
import { type Context, requireNamespace } from '../base/context.ts';
import type { DiskUsage, UsageRequest } from '../core/gc/disk-usage.ts';
import { Usage } from '../wire/gen/gantry/usage/v1/usage_pb.js';
import { type ServedService, serve } from '../wire/service.ts';

export interface UsageServiceDependencies {
  readonly diskUsage: (ctx: Context, request: UsageRequest) => Promise<DiskUsage>;
  /** Of the file system that has the content. */
  readonly diskSpace: () => { freeBytes: number; totalBytes: number };
}

export const usageService = ({ diskUsage, diskSpace }: UsageServiceDependencies): ServedService =>
  serve(Usage, {
    async *diskUsage(ctx, { allNamespaces, skipWalks }) {
      const namespace = allNamespaces ? undefined : requireNamespace(ctx).namespace;
      const { entries, totals } = await diskUsage(ctx, { namespace, skipWalks });
      for (const entry of entries)
        yield {
          item: {
            case: 'entry',
            value: {
              kind: entry.kind,
              namespace: entry.namespace,
              id: entry.id,
              contentBytes: BigInt(entry.contentBytes),
              snapshotBytes: BigInt(entry.snapshotBytes),
              sharedBytes: BigInt(entry.sharedBytes),
              uniqueBytes: BigInt(entry.uniqueBytes),
              holders: entry.holders,
              garbage: entry.isGarbage,
              unknown: entry.isUnknown,
            },
          },
        };
      const { freeBytes, totalBytes } = diskSpace();
      const { content, snapshots, ingests, garbageBytes } = totals;
      yield {
        item: {
          case: 'totals',
          value: {
            contentCount: BigInt(content.count),
            contentBytes: BigInt(content.bytes),
            snapshotCount: BigInt(snapshots.count),
            snapshotBytes: BigInt(snapshots.bytes),
            ingestCount: BigInt(ingests.count),
            ingestBytes: BigInt(ingests.bytes),
            garbageBytes: BigInt(garbageBytes),
            diskFreeBytes: BigInt(freeBytes),
            diskTotalBytes: BigInt(totalBytes),
          },
        },
      };
    },
  });
