/** ImageStatus: an image by name or id, and when asked more of it, its config. */

import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Context, NamespacedContext } from '../base/context.ts';
import { limits } from '../base/limits.ts';
import type { ContentStore } from '../core/content/content-store.ts';
import { readDocument } from '../core/transfer/image-content.ts';
import { parseJsonObject } from '../oci/json.ts';
import type { ImageStatusRequest, ImageStatusResponseSchema } from '../wire/gen/runtime/v1/image_pb.js';
import { inCri } from './cri-context.ts';
import type { CriImage, ImageIndex } from './image-index.ts';
import { imageToWire } from './image-list.ts';

export interface ImageStatusDependencies {
  readonly index: ImageIndex;
  readonly content: ContentStore;
}

/** No image in the answer when there is none. Errors: InvalidArgument (part of several ids). */
export async function imageStatus(
  { index, content }: ImageStatusDependencies,
  context: Context,
  { image: spec, verbose }: ImageStatusRequest,
): Promise<MessageInitShape<typeof ImageStatusResponseSchema>> {
  const ctx = inCri(context);
  const image = await index.find(ctx, spec?.image ?? '');
  if (image === undefined) return {};
  return {
    image: imageToWire(image),
    ...(verbose && { info: { info: JSON.stringify(await infoOf(content, ctx, image)) } }),
  };
}

/** containerd's form of it, which people read with `crictl inspecti`. */
async function infoOf(content: ContentStore, ctx: NamespacedContext, image: CriImage): Promise<object> {
  const bytes = await readDocument(content, ctx, image.config);
  const imageSpec = parseJsonObject(bytes, `image config ${image.id}`, limits.manifestBytes);
  return { chainID: image.chainId ?? '', imageSpec };
}
