/**
 * Layers into snapshots, for images that are here but were not unpacked by a pull: the daemon applies each layer
 * (diff service) to a snapshot on its parent, and a snapshot is committed under its chain id.
 */
import { randomBytes } from 'node:crypto';
import type { Digest } from '../base/digest.ts';
import { failedPrecondition, hasCode } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { chainIds } from '../oci/chain-id.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { descriptorToWire, mountToWire } from '../wire/convert.ts';
import { Content } from '../wire/gen/containerd/services/content/v1/content_pb.js';
import { Diff } from '../wire/gen/containerd/services/diff/v1/diff_pb.js';
import type { ContentClient } from './content.ts';

import type { ImageContent } from './image-content.ts';
import type { Call, Scope } from './scope.ts';
import type { SnapshotsClient } from './snapshots.ts';

export interface UnpackDependencies {
  readonly scope: Scope;
  readonly content: ContentClient;
  readonly snapshots: SnapshotsClient;
}

/** Returns the key of the top snapshot. Call it under a lease. Errors: FailedPrecondition, and those of the daemon. */
export async function unpackImage(
  dependencies: UnpackDependencies,
  image: ImageContent,
  call: Call,
): Promise<string> {
  const { diffIds } = image.config;
  if (diffIds.length !== image.layers.length)
    throw failedPrecondition(
      `image ${image.manifest.digest} has ${image.layers.length} layers and ${diffIds.length} diff ids`,
    );
  const chain = chainIds(diffIds);
  for (const [index, layer] of image.layers.entries())
    await unpackLayer(dependencies, {
      layer,
      diffId: diffIds[index] as Digest,
      chainId: chain[index] as Digest,
      parent: chain[index - 1] ?? '',
      call,
    });
  const top = chain.at(-1) ?? '';
  if (top !== '') await keepSnapshot(dependencies, image, { top, call });
  return top;
}

interface LayerStep {
  readonly layer: Descriptor;
  readonly diffId: Digest;
  readonly chainId: Digest;
  readonly parent: string;
  readonly call: Call;
}

async function unpackLayer(
  { scope, snapshots }: UnpackDependencies,
  { layer, diffId, chainId, parent, call }: LayerStep,
): Promise<void> {
  if (await exists(snapshots, chainId, call)) return;
  const key = `extract-${randomBytes(9).toString('hex')} ${chainId}`;
  try {
    const mounts = await snapshots.prepare(key, { parent, ...call });
    const applied = await scope
      .client(Diff)
      .apply({ diff: descriptorToWire(layer), mounts: mounts.map(mountToWire) }, scope.options(call));
    if (applied.applied?.digest !== diffId)
      throw failedPrecondition(
        `layer ${layer.digest} unpacks to ${applied.applied?.digest ?? 'nothing'}, its image says ${diffId}`,
      );
    await snapshots.commit(chainId, key, call);
  } catch (error) {
    await snapshots.remove(key, { signal: AbortSignal.timeout(limits.cleanupMs) }).catch(() => undefined);
    // Somebody else has unpacked the same layer meanwhile.
    if (!hasCode(error, 'AlreadyExists')) throw error;
  }
}

/** The label on the config that keeps the snapshots as long as the image is there. */
async function keepSnapshot(
  { scope, snapshots }: UnpackDependencies,
  image: ImageContent,
  { top, call }: { top: string; call: Call },
): Promise<void> {
  const label = `containerd.io/gc.ref.snapshot.${snapshots.snapshotter}`;
  const info = { digest: image.configDescriptor.digest, labels: { [label]: top } };
  await scope
    .client(Content)
    .update({ info, updateMask: { paths: [`labels.${label}`] } }, scope.options(call));
}

async function exists(snapshots: SnapshotsClient, key: string, call: Call): Promise<boolean> {
  try {
    await snapshots.stat(key, call);
    return true;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return false;
    throw error;
  }
}

/** Bytes of the snapshots of a chain together; undefined when the top one is not there. */
export async function chainSnapshot(
  snapshots: SnapshotsClient,
  diffIds: readonly Digest[],
  call: Call,
): Promise<number | undefined> {
  let sizeBytes = 0;
  try {
    for (const key of chainIds(diffIds).reverse()) sizeBytes += (await snapshots.usage(key, call)).sizeBytes;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
  return sizeBytes;
}
