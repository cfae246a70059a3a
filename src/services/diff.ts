/** containerd.services.diff.v1: the first differ that does not answer Unimplemented does it. */
import type { AnyValue } from '../base/any-value.ts';
import { type NamespacedContext, requireNamespace } from '../base/context.ts';
import { hasCode, unimplemented } from '../base/errors.ts';
import type { Differ } from '../core/diff/differ.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { descriptorFromWire, descriptorToWire, mountFromWire } from '../wire/convert.ts';
import { type ApplyRequest, Diff } from '../wire/gen/containerd/services/diff/v1/diff_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { instantOf } from '../wire/timestamps.ts';
import { required } from './convert.ts';

export interface DiffServiceDependencies {
  /** In the order of `diff-service.default`. */
  readonly differs: readonly Differ[];
}

export interface DiffServiceOptions {
  /** Sync the tree after each apply, whatever the request says. */
  readonly syncFileSystem?: boolean;
}

export function diffService(
  { differs }: DiffServiceDependencies,
  { syncFileSystem = false }: DiffServiceOptions = {},
): ServedService {
  const first = async (
    ctx: NamespacedContext,
    call: (ctx: NamespacedContext, differ: Differ) => Promise<Descriptor>,
  ): Promise<Descriptor> => {
    let refused: unknown = unimplemented('no differ is configured');
    for (const differ of differs)
      try {
        return await call(ctx, differ);
      } catch (error) {
        if (!hasCode(error, 'Unimplemented')) throw error;
        refused = error;
      }
    throw refused;
  };
  return serve(Diff, {
    apply: async (context, request) => {
      const layer = descriptorFromWire(required(request.diff, 'diff descriptor'));
      const mounts = request.mounts.map(mountFromWire);
      const options = { syncFileSystem: syncFileSystem || request.syncFs, payloads: payloadsOf(request) };
      const applied = await first(requireNamespace(context), (ctx, differ) =>
        differ.apply(ctx, layer, mounts, options),
      );
      return { applied: descriptorToWire(applied) };
    },
    diff: async (context, request) => {
      const sourceDateEpoch = instantOf(request.sourceDateEpoch);
      const options = {
        labels: request.labels,
        ...(request.mediaType !== '' && { mediaType: request.mediaType }),
        ...(request.ref !== '' && { ref: request.ref }),
        ...(sourceDateEpoch !== undefined && { sourceDateEpoch }),
      };
      const left = request.left.map(mountFromWire);
      const right = request.right.map(mountFromWire);
      const layer = await first(requireNamespace(context), (ctx, differ) =>
        differ.compare(ctx, left, right, options),
      );
      return { diff: descriptorToWire(layer) };
    },
  });
}

const payloadsOf = ({ payloads }: ApplyRequest): Map<string, AnyValue> =>
  new Map(Object.entries(payloads).map(([id, { typeUrl, value }]) => [id, { typeUrl, value }]));
