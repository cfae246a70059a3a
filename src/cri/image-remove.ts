/**
 * RemoveImage: all names of an image. Its id goes last, so that what a crash leaves over can be removed by it, and the
 * answer comes when the space is free: the kubelet measures then.
 */
import type { Context } from '../base/context.ts';
import { hasCode } from '../base/errors.ts';
import type { KeyedLock } from '../base/keyed-lock.ts';
import type { ImageStore } from '../core/images/image-store.ts';
import { inCri } from './cri-context.ts';
import { namingLock } from './image-adoption.ts';
import type { ImageIndex } from './image-index.ts';

export interface ImageRemoveDependencies {
  readonly index: ImageIndex;
  readonly images: ImageStore;
  readonly locks: KeyedLock;
}

/** Of an image that is not there it is done. Errors: InvalidArgument (part of several ids). */
export async function removeImage(
  { index, images, locks }: ImageRemoveDependencies,
  context: Context,
  text: string,
): Promise<void> {
  const ctx = inCri(context);
  using _ = await locks.acquire(namingLock, { signal: ctx.signal });
  const image = await index.find(ctx, text);
  if (image === undefined) return;
  const isId = (name: string): boolean => name === image.id;
  const names = image.names.toSorted((a, b) => Number(isId(a)) - Number(isId(b)));
  for (const [position, name] of names.entries())
    try {
      await images.delete(ctx, name, { sync: position === names.length - 1 });
    } catch (error) {
      if (!hasCode(error, 'NotFound')) throw error;
    }
}
