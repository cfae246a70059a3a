/** Requests, responses and metadata of ttrpc: what server and client must agree on. */
import { create, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { internal } from '../../base/errors.ts';
import type { CallHeaders } from '../call-context.ts';
import { type Request, RequestSchema, ResponseSchema } from '../gen/ttrpc/ttrpc_pb.js';
import { statusOf } from '../status.ts';

export const namespaceKey = 'containerd-namespace-ttrpc';
/** containerd sends no lease over ttrpc; our own ends do. */
export const leaseKey = 'containerd-lease';

const nanosecondsPerMs = 1_000_000n;

export const encodeMessage = (schema: DescMessage, message: unknown): Uint8Array =>
  toBinary(schema, create(schema, message as Message));

/** Errors: Internal, as containerd answers bytes that are not the message they should be. */
export function decodeMessage(schema: DescMessage, bytes: Uint8Array): Message {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw internal(`ttrpc: error unmarshalling payload: ${(error as Error).message}`, error);
  }
}

/** The first value of a key in lower case, as containerd writes them. */
export const metadataOf = (request: Request, key: string): string | undefined =>
  request.metadata.find((entry) => entry.key.toLowerCase() === key)?.value;

export const readMetadata = (request: Request): CallHeaders => ({
  namespace: metadataOf(request, namespaceKey),
  lease: metadataOf(request, leaseKey),
});

export interface RequestToSend {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  readonly timeoutMs: number | undefined;
  readonly namespace: string | undefined;
  readonly lease: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

export function encodeRequest(request: RequestToSend): Uint8Array {
  const metadata = [
    { key: namespaceKey, value: request.namespace },
    { key: leaseKey, value: request.lease },
    ...Object.entries(request.headers).map(([key, value]) => ({ key, value })),
  ].filter((entry): entry is { key: string; value: string } => entry.value !== undefined);
  const timeoutNano = BigInt(Math.ceil(request.timeoutMs ?? 0)) * nanosecondsPerMs;
  const { service, method, payload } = request;
  return toBinary(RequestSchema, create(RequestSchema, { service, method, payload, timeoutNano, metadata }));
}

/** Undefined when the client set none. */
export const timeoutMsOf = (request: Request): number | undefined =>
  request.timeoutNano > 0n ? Number(request.timeoutNano) / Number(nanosecondsPerMs) : undefined;

/** A success says so: early clients of ttrpc take a missing status for a failure. */
export const encodeResponse = (payload: Uint8Array): Uint8Array =>
  toBinary(ResponseSchema, create(ResponseSchema, { status: {}, payload }));

export const encodeFailure = (error: unknown): Uint8Array =>
  toBinary(ResponseSchema, create(ResponseSchema, { status: statusOf(error) }));
