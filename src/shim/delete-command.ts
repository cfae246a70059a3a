/**
 * `delete`: cleans up after a shim that is gone. Takes the container away whatever state it is in, and answers how it
 * ended: what the bundle has noted, else 137.
 */
import { basename, join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { hasCode } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { instantOfNs, now } from '../base/time.ts';
import { selectPlatform } from '../platform/select.ts';
import { unmountAll } from '../platform/temp-mount.ts';
import { DeleteResponseSchema } from '../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { timestampOf } from '../wire/timestamps.ts';
import type { ShimArguments } from './arguments.ts';
import { forgetContainer, loadContainer } from './bundle/state-file.ts';
import { forgetHeld } from './held-directory.ts';
import { defaultRuncRoot } from './process/options.ts';
import { Runc } from './runc/runc.ts';

const killed = 137;

/** A DeleteResponse for stdout. */
export async function deleteCommand(args: ShimArguments, log: Logger): Promise<Uint8Array> {
  const platform = await selectPlatform();
  const bundle = args.bundle === '' ? process.cwd() : args.bundle;
  const id = args.id === '' ? basename(bundle) : args.id;
  const saved = loadContainer(bundle);
  const setup = saved?.options.runc ?? {
    binary: 'runc',
    root: join(args.runcRoot === '' ? defaultRuncRoot : args.runcRoot, args.namespace),
    systemdCgroup: false,
  };
  const runc = new Runc(platform, setup);
  try {
    await runc.delete(id, bundle, { force: true });
  } catch (error) {
    if (!hasCode(error, 'NotFound')) log.warn({ error, id }, 'runc could not delete the container');
  }
  // The root filesystem, and exit codes that are kept for a later shim, which finds nothing to take over now.
  unmountAll(platform, bundle, { lazy: true });
  forgetContainer(bundle);
  if (saved !== undefined) forgetHeld(platform, saved.heldIn, saved);
  const exit = saved?.init.exit;
  return toBinary(
    DeleteResponseSchema,
    create(DeleteResponseSchema, {
      pid: saved?.init.pid ?? 0,
      exitStatus: exit?.status ?? killed,
      exitedAt: timestampOf(exit === undefined ? now() : instantOfNs(BigInt(exit.exitedAt))),
    }),
  );
}
