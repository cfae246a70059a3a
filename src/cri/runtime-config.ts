/**
 * RuntimeConfig: the cgroup driver, which the kubelet then uses too. What the default handler says counts, else the
 * first of runc's kind, else whether systemd runs this machine.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { CgroupDriver, type RuntimeConfigResponseSchema } from '../wire/gen/runtime/v1/status_pb.js';
import type { RuntimeSettings } from './settings.ts';

export function runtimeConfig(
  { defaultHandler, handlers }: RuntimeSettings,
  { runsSystemd }: { readonly runsSystemd: () => boolean },
): MessageInitShape<typeof RuntimeConfigResponseSchema> {
  const said = [handlers.get(defaultHandler), ...handlers.values()]
    .map((handler) => handler?.systemdCgroup)
    .find((choice) => choice !== undefined);
  const cgroupDriver = (said ?? runsSystemd()) ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS;
  return { linux: { cgroupDriver } };
}
