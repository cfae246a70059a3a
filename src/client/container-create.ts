/**
 * A container from an image: unpacked layers, a writable snapshot on them, a spec, a record. All under a lease, so
 * that no garbage collection gets between the steps; what a failure leaves is removed.
 */
import { failedPrecondition } from '../base/errors.ts';
import type { Labels } from '../base/labels.ts';
import { limits } from '../base/limits.ts';
import type { Image } from '../core/images/image-store.ts';
import { makeSpec, type SpecOptions } from '../oci/default-spec.ts';
import type { Platform } from '../oci/platform.ts';
import type { SpecUser } from '../oci/runtime-spec.ts';
import { resolveUser } from '../oci/users.ts';
import type { Mount } from '../platform/mount.ts';
import type { ContainerRecord, NewContainerRecord } from './containers.ts';
import type { GantryClient } from './gantry-client.ts';
import type { Call } from './scope.ts';

/**
 * Reads small text files of a root file system, given its mounts; "" for one that is absent. Somebody who may mount
 * has to give it (platform/temp-mount), and must confine symlinks of the image to the root.
 */
export type RootFileReader = (mounts: readonly Mount[], paths: readonly string[]) => Promise<string[]>;

export interface ContainerFromImage extends Call {
  readonly id: string;
  readonly image: Image;
  readonly snapshotter: string;
  readonly platform?: Platform;
  /** `user[:group]`, names or numbers; the image's own when absent. */
  readonly user?: string;
  readonly labels?: Labels;
  readonly runtime?: NewContainerRecord['runtime'];
  readonly spec: Omit<SpecOptions, 'id' | 'namespace' | 'image' | 'user'>;
}

export interface ContainerCreateDependencies {
  readonly gantry: GantryClient;
  /** Without it only numeric users can be resolved. */
  readonly readRootFiles?: RootFileReader;
}

/** containerd's label for the signal that an image wants to be stopped by. */
export const stopSignalLabel = 'io.containerd.image.config.stop-signal';

/** The record's snapshot has its id as key. Errors: AlreadyExists (id), NotFound (content, user), InvalidArgument. */
export async function createContainer(
  { gantry, readRootFiles }: ContainerCreateDependencies,
  { id, image, snapshotter, platform, labels, runtime, spec, user, ...call }: ContainerFromImage,
): Promise<ContainerRecord> {
  await using lease = await gantry.leases.hold(call);
  await using undo = new AsyncDisposableStack();
  const leased = { ...call, lease: lease.id };
  const forPlatform = platform === undefined ? {} : { platform };
  const { config } = await gantry.images.content(image, { ...forPlatform, ...leased });
  const parent = await gantry.images.unpack(image, { snapshotter, ...forPlatform, ...leased });
  const snapshots = gantry.snapshots(snapshotter);
  const mounts = await snapshots.prepare(id, { parent, ...leased });
  undo.defer(() => snapshots.remove(id, { signal: AbortSignal.timeout(limits.cleanupMs) }));
  const specUser = await userOf(user ?? config.config.user, { mounts, readRootFiles });
  const stopSignal = config.config.stopSignal;
  const record = await gantry.containers.create(
    {
      id,
      image: image.name,
      labels: { ...(stopSignal !== '' && { [stopSignalLabel]: stopSignal }), ...labels },
      snapshotter,
      snapshotKey: id,
      spec: makeSpec({ ...spec, id, namespace: gantry.namespace, image: config.config, user: specUser }),
      ...(runtime === undefined ? {} : { runtime }),
    },
    leased,
  );
  undo.move();
  return record;
}

async function userOf(
  text: string,
  { mounts, readRootFiles }: { mounts: readonly Mount[]; readRootFiles: RootFileReader | undefined },
): Promise<SpecUser> {
  if (text === '' || text === '0' || text === '0:0' || text === 'root') return { uid: 0, gid: 0 };
  if (readRootFiles !== undefined) {
    const [passwd = '', group = ''] = await readRootFiles(mounts, ['/etc/passwd', '/etc/group']);
    return resolveUser(text, passwd, group);
  }
  if (/^[0-9]+(?::[0-9]+)?$/.test(text)) return resolveUser(text, '', '');
  throw failedPrecondition(
    `user ${JSON.stringify(text)} is a name, and names can only be looked up by a client that may mount; give numbers`,
  );
}
