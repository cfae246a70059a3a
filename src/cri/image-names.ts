/** Giving an image one of its names with the labels of the CRI; labels that others have set on the name stay. */
import type { NamespacedContext } from '../base/context.ts';
import { hasCode } from '../base/errors.ts';
import { parseImageName } from '../base/identifiers.ts';
import type { Labels } from '../base/labels.ts';
import type { ImageStore } from '../core/images/image-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { criLabels } from './image-labels.ts';

export interface NamedImage {
  readonly name: string;
  readonly target: Descriptor;
  readonly pinned: boolean;
}

/** Makes it, or points an existing one to the target. Errors: InvalidArgument (name). */
export async function nameImage(
  images: ImageStore,
  ctx: NamespacedContext,
  { name: text, target, pinned }: NamedImage,
): Promise<void> {
  const labels = criLabels({ pinned });
  const image = { name: parseImageName(text), target, labels };
  const paths = ['target', ...Object.keys(labels).map((label) => `labels.${label}`)];
  for (;;) {
    try {
      await images.create(ctx, image);
      return;
    } catch (error) {
      if (!hasCode(error, 'AlreadyExists')) throw error;
    }
    try {
      await images.update(ctx, image, paths);
      return;
    } catch (error) {
      // Deleted between the two: then it can be made.
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }
}

/** What the name would have after nameImage. */
export async function labelsAfterNaming(
  images: ImageStore,
  ctx: NamespacedContext,
  { name, pinned }: Omit<NamedImage, 'target'>,
): Promise<Labels> {
  try {
    const { labels } = await images.get(ctx, parseImageName(name));
    return { ...labels, ...criLabels({ pinned }) };
  } catch (error) {
    if (hasCode(error, 'NotFound')) return criLabels({ pinned });
    throw error;
  }
}
