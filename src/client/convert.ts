/** Between messages of the wire and the plain values that the client hands out. */
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { parseDigest } from '../base/digest.ts';
import { dataLoss } from '../base/errors.ts';
import { type Instant, instantOfNs } from '../base/time.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Mount } from '../platform/mount.ts';
import type { Descriptor as WireDescriptor } from '../wire/gen/containerd/types/descriptor_pb.js';
import type { Mount as WireMount } from '../wire/gen/containerd/types/mount_pb.js';
import { instantOf } from '../wire/timestamps.ts';

/** A time that the daemon always sends; the epoch should it not. */
export const knownInstantOf = (timestamp: Timestamp | undefined): Instant =>
  instantOf(timestamp) ?? instantOfNs(0n);

/** Errors: InvalidArgument, DataLoss when the daemon sent none. */
export function descriptorOf(wire: WireDescriptor | undefined): Descriptor {
  if (wire === undefined) throw dataLoss('the daemon answered without a descriptor');
  return {
    mediaType: wire.mediaType,
    digest: parseDigest(wire.digest),
    sizeBytes: Number(wire.size),
    annotations: wire.annotations,
  };
}

export const wireDescriptorOf = (descriptor: Descriptor) => ({
  mediaType: descriptor.mediaType,
  digest: descriptor.digest as string,
  size: BigInt(descriptor.sizeBytes),
  annotations: { ...descriptor.annotations },
});

export const mountOf = (wire: WireMount): Mount => ({
  type: wire.type,
  source: wire.source,
  target: wire.target,
  options: wire.options,
});

export const wireMountOf = (mount: Mount) => ({ ...mount, options: [...mount.options] });
