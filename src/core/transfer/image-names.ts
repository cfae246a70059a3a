/** Giving names to what was brought in: the last step of a transfer into the image store. */
import type { NamespacedContext } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { parseImageName } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Image, ImageStore } from '../images/image-store.ts';

/** Makes the image, or points an existing one of that name to the new target. Errors: InvalidArgument. */
export async function storeImage(
  images: ImageStore,
  ctx: NamespacedContext,
  { name, target, labels }: { name: string; target: Descriptor; labels: Labels },
): Promise<Image> {
  const image = { name: parseImageName(name), target, labels };
  for (;;) {
    try {
      return await images.create(ctx, image);
    } catch (error) {
      if (!hasCode(error, 'AlreadyExists')) throw error;
    }
    try {
      return await images.update(ctx, image, []);
    } catch (error) {
      // Deleted between the two: then it can be made.
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }
}
