/** Messages that services and clients share, and the plain values they stand for: descriptors, mounts, platforms. */
import { create } from '@bufbuild/protobuf';
import { parseDigest } from '../base/digest.ts';
import { invalidArgument } from '../base/errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Platform } from '../oci/platform.ts';
import type { Mount } from '../platform/mount.ts';
import { DescriptorSchema, type Descriptor as WireDescriptor } from './gen/containerd/types/descriptor_pb.js';
import { MountSchema, type Mount as WireMount } from './gen/containerd/types/mount_pb.js';
import { PlatformSchema } from './gen/containerd/types/platform_pb.js';

/** An int64 that counts bytes or the like. Errors: InvalidArgument beyond 2^53 or below zero. */
export function countOf(value: bigint, what: string): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
    throw invalidArgument(`${what} ${value} is out of range`);
  return Number(value);
}

/** Errors: InvalidArgument (digest, size). */
export function descriptorFromWire(descriptor: WireDescriptor): Descriptor {
  const bare = {
    mediaType: descriptor.mediaType,
    digest: parseDigest(descriptor.digest),
    sizeBytes: countOf(descriptor.size, 'descriptor size'),
  };
  const hasAnnotations = Object.keys(descriptor.annotations).length > 0;
  return hasAnnotations ? { ...bare, annotations: descriptor.annotations } : bare;
}

export const descriptorToWire = (descriptor: Descriptor): WireDescriptor =>
  create(DescriptorSchema, {
    mediaType: descriptor.mediaType,
    digest: descriptor.digest,
    size: BigInt(descriptor.sizeBytes),
    annotations: { ...descriptor.annotations },
  });

export const mountFromWire = ({ type, source, target, options }: WireMount): Mount => ({
  type,
  source,
  target,
  options,
});

export const mountToWire = ({ type, source, target, options }: Mount): WireMount =>
  create(MountSchema, { type, source, target, options: [...options] });

export const platformToWire = (platform: Platform) =>
  create(PlatformSchema, {
    os: platform.os,
    architecture: platform.architecture,
    variant: platform.variant ?? '',
    osVersion: platform.osVersion ?? '',
    osFeatures: [...(platform.osFeatures ?? [])],
  });
