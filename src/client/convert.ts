/** Between messages of the wire and the plain values that the client hands out. */
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { dataLoss } from '../base/errors.ts';
import { type Instant, instantOfNs } from '../base/time.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { descriptorFromWire } from '../wire/convert.ts';
import type { Descriptor as WireDescriptor } from '../wire/gen/containerd/types/descriptor_pb.js';
import { instantOf } from '../wire/timestamps.ts';

/** A time that the daemon always sends; the epoch should it not. */
export const knownInstantOf = (timestamp: Timestamp | undefined): Instant =>
  instantOf(timestamp) ?? instantOfNs(0n);

/** Errors: InvalidArgument, DataLoss when the daemon sent none. */
export function descriptorOf(wire: WireDescriptor | undefined): Descriptor {
  if (wire === undefined) throw dataLoss('the daemon answered without a descriptor');
  return descriptorFromWire(wire);
}
