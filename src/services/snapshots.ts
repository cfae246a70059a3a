/** containerd.services.snapshots.v1: every request names a snapshotter. */
import { create } from '@bufbuild/protobuf';
import { type Context, type NamespacedContext, requireNamespace } from '../base/context.ts';
import { invalidArgument } from '../base/errors.ts';
import { parseSnapshotKey } from '../base/identifiers.ts';
import { limits } from '../base/limits.ts';
import { absentSnapshot } from '../core/metadata/snapshot-rows.ts';
import type {
  PrepareOptions,
  SnapshotInfo,
  SnapshotKind,
  Snapshotter,
} from '../core/snapshots/snapshotter.ts';
import { mountToWire } from '../wire/convert.ts';
import {
  InfoSchema,
  Kind,
  Snapshots,
  type Info as WireInfo,
} from '../wire/gen/containerd/services/snapshots/v1/snapshots_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';
import { blocksOf, lookup, maskPaths, required } from './convert.ts';

export interface SnapshotsServiceDependencies {
  /** The namespaced views, by name. */
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
}

const kinds: Readonly<Record<SnapshotKind, Kind>> = {
  active: Kind.ACTIVE,
  view: Kind.VIEW,
  committed: Kind.COMMITTED,
};

const toWire = (info: SnapshotInfo): WireInfo =>
  create(InfoSchema, {
    name: info.key,
    parent: info.parent ?? '',
    kind: kinds[info.kind],
    createdAt: timestampOf(info.createdAt),
    updatedAt: timestampOf(info.updatedAt),
    labels: { ...info.labels },
  });

const optionsOf = (request: { parent: string; labels: Record<string, string> }): PrepareOptions => ({
  labels: request.labels,
  ...(request.parent !== '' && { parent: parseSnapshotKey(request.parent) }),
});

export function snapshotsService({ snapshotters }: SnapshotsServiceDependencies): ServedService {
  /** The call's snapshotter and namespace. Errors: InvalidArgument, FailedPrecondition. */
  const open = (ctx: Context, name: string): { snapshotter: Snapshotter; ctx: NamespacedContext } => {
    if (name === '') throw invalidArgument('snapshotter argument missing');
    const snapshotter = snapshotters.get(name);
    if (snapshotter === undefined) throw invalidArgument(`snapshotter not loaded: ${name}`);
    return { snapshotter, ctx: requireNamespace(ctx) };
  };
  return serve(Snapshots, {
    prepare: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      const mounts = await snapshotter.prepare(ctx, parseSnapshotKey(request.key), optionsOf(request));
      return { mounts: mounts.map(mountToWire) };
    },
    view: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      const mounts = await snapshotter.view(ctx, parseSnapshotKey(request.key), optionsOf(request));
      return { mounts: mounts.map(mountToWire) };
    },
    mounts: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      const mounts = await snapshotter.mounts(ctx, lookup(absentSnapshot, parseSnapshotKey, request.key));
      return { mounts: mounts.map(mountToWire) };
    },
    commit: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      const name = parseSnapshotKey(request.name);
      await snapshotter.commit(
        ctx,
        name,
        lookup(absentSnapshot, parseSnapshotKey, request.key),
        optionsOf(request),
      );
      return {};
    },
    remove: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      await snapshotter.remove(ctx, lookup(absentSnapshot, parseSnapshotKey, request.key));
      return {};
    },
    stat: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      return {
        info: toWire(await snapshotter.stat(ctx, lookup(absentSnapshot, parseSnapshotKey, request.key))),
      };
    },
    update: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      const { name, labels } = required(request.info, 'snapshot info');
      const given = { key: parseSnapshotKey(name), labels };
      return { info: toWire(await snapshotter.update(ctx, given, maskPaths(request.updateMask))) };
    },
    async *list(context, request) {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      for await (const block of blocksOf(snapshotter.list(ctx, request.filters), limits.listBlock))
        yield { info: block.map(toWire) };
    },
    usage: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      const { sizeBytes, inodes } = await snapshotter.usage(
        ctx,
        lookup(absentSnapshot, parseSnapshotKey, request.key),
      );
      return { size: BigInt(sizeBytes), inodes: BigInt(inodes) };
    },
    cleanup: async (context, request) => {
      const { snapshotter, ctx } = open(context, request.snapshotter);
      await snapshotter.cleanup(ctx);
      return {};
    },
  });
}
