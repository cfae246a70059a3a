/** runtime.v1.ImageService: decode, one story, encode. */
import type { ContentStore } from '../core/content/content-store.ts';
import { ImageService } from '../wire/gen/runtime/v1/image_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import type { ImageFsInfo } from './image-fs-info.ts';
import type { ImageIndex } from './image-index.ts';
import { listImages, streamImages } from './image-list.ts';
import { type ImagePullDependencies, pullImage } from './image-pull.ts';
import { type ImageRemoveDependencies, removeImage } from './image-remove.ts';
import { imageStatus } from './image-status.ts';
import type { ImageSettings } from './settings.ts';

export interface ImageServiceDependencies extends ImagePullDependencies, ImageRemoveDependencies {
  readonly index: ImageIndex;
  readonly content: ContentStore;
  readonly fsInfo: ImageFsInfo;
}

export const imageService = (
  dependencies: ImageServiceDependencies,
  settings: ImageSettings,
): ServedService =>
  serve(ImageService, {
    listImages: async (ctx, { filter }) => ({ images: await listImages(dependencies, ctx, filter) }),
    streamImages: (ctx, { filter }) => streamImages(dependencies, ctx, filter),
    imageStatus: (ctx, request) => imageStatus(dependencies, ctx, request),
    pullImage: async (ctx, request) => ({
      imageRef: await pullImage(dependencies, settings, ctx, request),
    }),
    removeImage: async (ctx, { image }) => {
      await removeImage(dependencies, ctx, image?.image ?? '');
      return {};
    },
    imageFsInfo: (ctx) => dependencies.fsInfo.tell(ctx),
  });
