/** The image that a pod or container is made from: what it says, and its layers in the snapshotter. */
import type { NamespacedContext } from '../../base/context.ts';
import { failedPrecondition, hasCode, wrap } from '../../base/errors.ts';
import { parseSnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { readImageConfig } from '../../core/transfer/image-content.ts';
import type { ImageRunConfig } from '../../oci/image-config.ts';
import type { Mount } from '../../platform/mount.ts';
import type { CriImage } from '../image-index.ts';
import type { CriWorld } from './world.ts';

export interface RunnableImage {
  readonly image: CriImage;
  readonly config: ImageRunConfig;
}

/** Errors: NotFound (a document). */
export async function runnable(
  { content }: Pick<CriWorld, 'content'>,
  ctx: NamespacedContext,
  image: CriImage,
): Promise<RunnableImage> {
  const { config } = await readImageConfig(content, ctx, image.config);
  return { image, config };
}

export interface RootfsRequest {
  readonly id: string;
  readonly image: CriImage;
  readonly snapshotter: string;
  readonly labels?: Labels;
}

/**
 * A writable file system on the image's layers, by the container's id. Errors: FailedPrecondition when the layers are
 * not in this snapshotter.
 */
export async function prepareRootfs(
  world: Pick<CriWorld, 'snapshotter'>,
  ctx: NamespacedContext,
  { id, image, snapshotter, labels = {} }: RootfsRequest,
): Promise<Mount[]> {
  const { chainId } = image;
  try {
    return await world.snapshotter(snapshotter).prepare(ctx, parseSnapshotKey(id), {
      labels,
      ...(chainId !== undefined && { parent: parseSnapshotKey(chainId) }),
    });
  } catch (error) {
    if (hasCode(error, 'NotFound'))
      throw failedPrecondition(
        `image ${image.id} is not unpacked into the snapshotter ${snapshotter}: pull it again`,
        error,
      );
    throw wrap(`failed to make the file system of ${id}`, error);
  }
}
