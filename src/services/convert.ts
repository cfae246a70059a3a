/** Words that several services share, between wire and core: descriptors, mounts, platforms, masks, sizes. */
import { create } from '@bufbuild/protobuf';
import type { FieldMask } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../base/any-value.ts';
import { parseDigest } from '../base/digest.ts';
import { type ContainerdError, hasCode, invalidArgument, notFound } from '../base/errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Platform } from '../oci/platform.ts';
import type { Mount } from '../platform/mount.ts';
import { anyToWire } from '../wire/any.ts';
import {
  DescriptorSchema,
  type Descriptor as WireDescriptor,
} from '../wire/gen/containerd/types/descriptor_pb.js';
import { MountSchema, type Mount as WireMount } from '../wire/gen/containerd/types/mount_pb.js';
import { PlatformSchema } from '../wire/gen/containerd/types/platform_pb.js';

/** A message that the call cannot do without. Errors: InvalidArgument (containerd itself panics on some of these). */
export function required<Value>(value: Value | undefined, what: string): Value {
  if (value === undefined) throw invalidArgument(`${what} is missing from the request`);
  return value;
}

/**
 * A name by which something is looked up: one that cannot exist is not found, as containerd answers it; only what is
 * made gets told what is wrong with its name. `absent` is the kind of thing, or the error itself. Errors: NotFound.
 */
export function lookup<Name>(
  absent: string | ((text: string) => ContainerdError),
  parse: (text: string) => Name,
  text: string,
): Name {
  try {
    return parse(text);
  } catch (error) {
    if (!hasCode(error, 'InvalidArgument')) throw error;
    throw typeof absent === 'string' ? notFound(absent, text) : absent(text);
  }
}

/** An int64 that counts bytes or the like. Errors: InvalidArgument beyond 2^53 or below zero. */
export function countOf(value: bigint, what: string): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
    throw invalidArgument(`${what} ${value} is out of range`);
  return Number(value);
}

export const maskPaths = (mask: FieldMask | undefined): readonly string[] => mask?.paths ?? [];

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

/** A field that may be absent, as protobuf wants it under exact optional properties: `...optional('spec', any)`. */
export const optionalAny = <Name extends string>(
  name: Name,
  value: AnyValue | undefined,
): { [K in Name]?: ReturnType<typeof anyToWire> } =>
  (value === undefined ? {} : { [name]: anyToWire(value) }) as {
    [K in Name]?: ReturnType<typeof anyToWire>;
  };

export const anyMapToWire = (
  map: Readonly<Record<string, AnyValue>>,
): Record<string, ReturnType<typeof anyToWire>> =>
  Object.fromEntries(Object.entries(map).map(([key, value]) => [key, anyToWire(value)]));

/** Groups what streams out into lists of at most `size`; nothing comes of nothing. */
export async function* blocksOf<Item>(
  items: AsyncIterable<Item>,
  size: number,
): AsyncGenerator<Item[], void> {
  let block: Item[] = [];
  for await (const item of items) {
    block.push(item);
    if (block.length < size) continue;
    yield block;
    block = [];
  }
  if (block.length > 0) yield block;
}
