/** containerd.services.mounts.v1: mounts that the daemon puts in place under a name. */
import { type MessageInitShape } from '@bufbuild/protobuf';
import { requireNamespace } from '../base/context.ts';
import type { Activation, MountManager } from '../core/mounts/mount-manager.ts';
import { mountFromWire, mountToWire } from '../wire/convert.ts';
import { Mounts } from '../wire/gen/containerd/services/mounts/v1/mounts_pb.js';
import type { ActivationInfoSchema } from '../wire/gen/containerd/types/mount_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';

export interface MountsServiceDependencies {
  readonly mounts: MountManager;
}

const toWire = ({
  name,
  active,
  system,
  labels,
}: Activation): MessageInitShape<typeof ActivationInfoSchema> => ({
  name,
  active: active.map(({ mount, mountedAt, mountPoint }) => ({
    mount: mountToWire(mount),
    mountedAt: timestampOf(mountedAt),
    mountPoint,
  })),
  system: system.map(mountToWire),
  labels: { ...labels },
});

/** Update answers Unimplemented, as containerd's does. */
export const mountsService = ({ mounts }: MountsServiceDependencies): ServedService =>
  serve(Mounts, {
    activate: async (ctx, request) => ({
      info: toWire(
        await mounts.activate(requireNamespace(ctx), {
          name: request.name,
          mounts: request.mounts.map(mountFromWire),
          labels: request.labels,
          temporary: request.temporary,
        }),
      ),
    }),
    deactivate: async (ctx, { name }) => {
      await mounts.deactivate(requireNamespace(ctx), name);
      return {};
    },
    info: async (ctx, { name }) => ({ info: toWire(await mounts.info(requireNamespace(ctx), name)) }),
    async *list(ctx, { filters }) {
      for await (const activation of mounts.list(requireNamespace(ctx), filters))
        yield { info: toWire(activation) };
    },
  });
