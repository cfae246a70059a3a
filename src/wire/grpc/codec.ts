/** Messages and headers of gRPC calls: what server and client must agree on. */
import { create, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { Metadata } from '@grpc/grpc-js';
import type { CallHeaders } from '../call-context.ts';

export const namespaceHeader = 'containerd-namespace';
export const leaseHeader = 'containerd-lease';
/** Status details travel here, as gRPC fixes it. */
export const statusDetailsHeader = 'grpc-status-details-bin';

/** Bytes of a message or of what makes one, without a copy. */
export const serializer =
  (schema: DescMessage) =>
  (message: unknown): Buffer => {
    const bytes = toBinary(schema, create(schema, message as Message));
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };

export const deserializer =
  (schema: DescMessage) =>
  (bytes: Buffer): Message =>
    fromBinary(schema, bytes);

/** The first value counts, as containerd reads it. */
const first = (metadata: Metadata, key: string): string | undefined => {
  const value = metadata.get(key)[0];
  return typeof value === 'string' ? value : undefined;
};

export const readHeaders = (metadata: Metadata): CallHeaders => ({
  namespace: first(metadata, namespaceHeader),
  lease: first(metadata, leaseHeader),
});

export function writeHeaders(headers: { namespace?: string; lease?: string }): Metadata {
  const metadata = new Metadata();
  if (headers.namespace !== undefined) metadata.set(namespaceHeader, headers.namespace);
  if (headers.lease !== undefined) metadata.set(leaseHeader, headers.lease);
  return metadata;
}
