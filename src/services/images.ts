/** containerd.services.images.v1 */
import { create } from '@bufbuild/protobuf';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { requireNamespace } from '../base/context.ts';
import { digestFault, parseDigest } from '../base/digest.ts';
import { invalidArgument } from '../base/errors.ts';
import { type ImageName, parseImageName } from '../base/identifiers.ts';
import type { Image, ImageChange, ImageStore, NewImage } from '../core/images/image-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { descriptorFromWire, descriptorToWire } from '../wire/convert.ts';
import {
  ImageSchema,
  Images,
  type Image as WireImage,
} from '../wire/gen/containerd/services/images/v1/images_pb.js';
import type { Descriptor as WireDescriptor } from '../wire/gen/containerd/types/descriptor_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { instantOf, timestampOf } from '../wire/timestamps.ts';
import { lookup, maskPaths, required } from './convert.ts';

export interface ImagesServiceDependencies {
  readonly images: ImageStore;
}

/** Errors: InvalidArgument, in the words that containerd's clients show. */
function nameOf(name: string): ImageName {
  if (name === '') throw invalidArgument('Image.Name required');
  return parseImageName(name);
}

/** Errors: InvalidArgument, in the words that containerd's clients show. */
function targetFromWire(target: WireDescriptor): Descriptor {
  const fault = digestFault(target.digest);
  if (fault !== undefined)
    throw invalidArgument(`Target.Digest ${JSON.stringify(target.digest)} invalid: ${fault}`);
  if (target.size <= 0n) throw invalidArgument('Target.Size must be greater than zero');
  return descriptorFromWire(target);
}

function fromWire(image: WireImage | undefined, epoch: Timestamp | undefined): NewImage {
  const given = required(image, 'image');
  const name = nameOf(given.name);
  const target = targetFromWire(required(given.target, 'image target'));
  const at = instantOf(epoch);
  return { name, target, labels: given.labels, ...(at !== undefined && { at }) };
}

/** Of an update: a mask that does not name the target may come without one. */
function changeFromWire(image: WireImage | undefined, epoch: Timestamp | undefined): ImageChange {
  const { name, labels, target } = required(image, 'image');
  const at = instantOf(epoch);
  return {
    name: nameOf(name),
    labels,
    ...(target !== undefined && target.digest !== '' && { target: targetFromWire(target) }),
    ...(target !== undefined && { annotations: target.annotations }),
    ...(at !== undefined && { at }),
  };
}

const toWire = (image: Image): WireImage =>
  create(ImageSchema, {
    name: image.name,
    labels: { ...image.labels },
    target: descriptorToWire(image.target),
    createdAt: timestampOf(image.createdAt),
    updatedAt: timestampOf(image.updatedAt),
  });

export const imagesService = ({ images }: ImagesServiceDependencies): ServedService =>
  serve(Images, {
    get: async (ctx, { name }) => ({
      image: toWire(await images.get(requireNamespace(ctx), lookup('image', parseImageName, name))),
    }),
    list: async (ctx, { filters }) => ({
      images: (await images.list(requireNamespace(ctx), filters)).map(toWire),
    }),
    create: async (ctx, { image, sourceDateEpoch }) => ({
      image: toWire(await images.create(requireNamespace(ctx), fromWire(image, sourceDateEpoch))),
    }),
    update: async (ctx, { image, updateMask, sourceDateEpoch }) => ({
      image: toWire(
        await images.update(
          requireNamespace(ctx),
          changeFromWire(image, sourceDateEpoch),
          maskPaths(updateMask),
        ),
      ),
    }),
    delete: async (ctx, { name, sync, target }) => {
      await images.delete(requireNamespace(ctx), lookup('image', parseImageName, name), {
        sync,
        ...(target !== undefined && { target: lookup('image target', parseDigest, target.digest) }),
      });
      return {};
    },
  });
