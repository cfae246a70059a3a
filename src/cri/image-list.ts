/** ListImages and StreamImages, and the form in which the CRI shows an image. */

import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Context } from '../base/context.ts';
import { limits } from '../base/limits.ts';
import type { ImageFilter, ImageSchema } from '../wire/gen/runtime/v1/image_pb.js';
import { inCri } from './cri-context.ts';
import type { CriImage, ImageIndex } from './image-index.ts';

export interface ImageListDependencies {
  readonly index: ImageIndex;
}

type WireImage = MessageInitShape<typeof ImageSchema>;

/** Differs from containerd, which does not look at the filter. Errors: InvalidArgument (part of several ids). */
export async function listImages(
  { index }: ImageListDependencies,
  ctx: Context,
  filter: ImageFilter | undefined,
): Promise<WireImage[]> {
  const wanted = filter?.image?.image ?? '';
  if (wanted === '') return (await index.list(inCri(ctx))).map(imageToWire);
  const image = await index.find(inCri(ctx), wanted);
  return image === undefined ? [] : [imageToWire(image)];
}

/** As listImages, in messages of a bounded number of images; one empty message when there are none. */
export async function* streamImages(
  dependencies: ImageListDependencies,
  ctx: Context,
  filter: ImageFilter | undefined,
): AsyncGenerator<{ images: WireImage[] }, void> {
  const images = await listImages(dependencies, ctx, filter);
  for (const batch of batchesOf(images, limits.criStreamBatch)) yield { images: batch };
}

/** At least one, which may be empty. */
export function* batchesOf<Item>(items: readonly Item[], size: number): Generator<Item[], void> {
  for (let from = 0; from === 0 || from < items.length; from += size) yield items.slice(from, from + size);
}

export const imageToWire = (image: CriImage): WireImage => ({
  id: image.id,
  repoTags: [...image.repoTags],
  repoDigests: [...image.repoDigests],
  size: BigInt(image.sizeBytes),
  pinned: image.isPinned,
  ...userOf(image.user),
});

/** The group is not told. A number too large to be a uid is a name. */
function userOf(text: string): Pick<WireImage, 'uid' | 'username'> {
  const [user = ''] = text.split(':', 1);
  if (user === '') return {};
  return /^\d{1,18}$/.test(user) ? { uid: { value: BigInt(user) } } : { username: user };
}
