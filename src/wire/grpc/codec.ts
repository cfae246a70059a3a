/**
 * Messages and headers of gRPC calls: what server and client must agree on.
 * Source: gRPC over HTTP/2 ("Requests", "Responses"); google.rpc.Status for details.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import { create, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { limits } from '../../base/limits.ts';
import type { CallHeaders } from '../call-context.ts';
import { type Status, StatusSchema } from '../gen/google/rpc/status_pb.js';

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
  (bytes: Uint8Array): Message =>
    fromBinary(schema, bytes);

/** The first value counts, as containerd reads it. */
export const firstOf = (value: string | string[] | undefined): string | undefined =>
  (Array.isArray(value) ? value[0] : value)?.split(',', 1)[0]?.trim();

export const readHeaders = (headers: IncomingHttpHeaders): CallHeaders => ({
  namespace: firstOf(headers[namespaceHeader]),
  lease: firstOf(headers[leaseHeader]),
});

const unitsMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** What the client gives the call; undefined when that is nothing, or nothing that can be read. */
export function readTimeoutMs(headers: IncomingHttpHeaders): number | undefined {
  const [, digits, unit] = /^([0-9]{1,8})([HMSmun])$/.exec(firstOf(headers['grpc-timeout']) ?? '') ?? [];
  const unitMs = unit === undefined ? undefined : unitsMs[unit];
  return unitMs === undefined ? undefined : Number(digits) * unitMs;
}

/** The end of a call that failed: number, message in percent-encoding, and details when there are any. */
export function statusTrailers({ code, message, details }: Status): OutgoingHttpHeaders {
  const trailers: OutgoingHttpHeaders = {
    'grpc-status': String(code),
    'grpc-message': percentEncoded(Buffer.from(message).subarray(0, limits.grpcStatusTextBytes)),
  };
  if (details.length === 0) return trailers;
  const status = Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code, message, details })));
  if (status.byteLength <= limits.grpcStatusTextBytes)
    trailers[statusDetailsHeader] = status.toString('base64').replace(/=+$/, '');
  return trailers;
}

function percentEncoded(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes)
    text +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return text;
}
