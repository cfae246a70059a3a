/** The smallest transfer: another name for an image that is there. */
import type { NamespacedContext } from '../../base/context.ts';
import { parseImageName } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Image, ImageStore } from '../images/image-store.ts';
import { storeImage } from './image-names.ts';

/** Errors: NotFound, InvalidArgument. */
export async function tagImage(
  images: ImageStore,
  ctx: NamespacedContext,
  from: string,
  to: { readonly name: string; readonly labels: Labels },
): Promise<Image> {
  const { target } = await images.get(ctx, parseImageName(from));
  return storeImage(images, ctx, { ...to, target });
}
