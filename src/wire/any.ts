/**
 * google.protobuf.Any as containerd uses it: the type URL of a message is its bare full name, and JSON values that are
 * not protobuf have path-like URLs. Values of unknown types are never touched (AnyValue).
 *
 * Unlike the protobuf default there is no `type.googleapis.com/` prefix; one that a client sends is tolerated when a
 * value is unpacked, and kept when it is only passed through.
 */
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../base/any-value.ts';
import { invalidArgument } from '../base/errors.ts';

/** Type URLs of the JSON-encoded values of OCI's runtime spec: containerd's whole list. */
export const jsonTypeUrls = {
  spec: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
  process: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
  linuxResources: 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources',
  windowsResources: 'types.containerd.io/opencontainers/runtime-spec/1/WindowsResources',
  features: 'types.containerd.io/opencontainers/runtime-spec/1/features/Features',
} as const;

const googlePrefix = 'type.googleapis.com/';

/** The name by which a value's type is known, with the prefix of other protobuf libraries taken off. */
export const typeNameOf = (any: AnyValue): string =>
  any.typeUrl.startsWith(googlePrefix) ? any.typeUrl.slice(googlePrefix.length) : any.typeUrl;

export function packAny<Schema extends DescMessage>(
  schema: Schema,
  message: MessageInitShape<Schema>,
): AnyValue {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, message)) };
}

/** Errors: InvalidArgument for another type or bytes that do not decode. */
export function unpackAny<Schema extends DescMessage>(schema: Schema, any: AnyValue): MessageShape<Schema> {
  if (typeNameOf(any) !== schema.typeName)
    throw invalidArgument(`expected a value of type ${schema.typeName}, got ${JSON.stringify(any.typeUrl)}`);
  try {
    return fromBinary(schema, any.value);
  } catch (error) {
    throw invalidArgument(`malformed ${schema.typeName}: ${(error as Error).message}`, error);
  }
}

/** A JSON value under one of `jsonTypeUrls`. */
export const packJson = (typeUrl: string, value: unknown): AnyValue => ({
  typeUrl,
  value: new TextEncoder().encode(JSON.stringify(value)),
});

/** Errors: InvalidArgument for another type or text that is not JSON. The shape is for the caller to check. */
export function unpackJson(typeUrl: string, any: AnyValue): unknown {
  if (any.typeUrl !== typeUrl)
    throw invalidArgument(`expected a value of type ${typeUrl}, got ${JSON.stringify(any.typeUrl)}`);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(any.value));
  } catch (error) {
    throw invalidArgument(`malformed ${typeUrl}: ${(error as Error).message}`, error);
  }
}

export const anyFromWire = (any: Any | undefined): AnyValue | undefined =>
  any === undefined ? undefined : { typeUrl: any.typeUrl, value: any.value };

export const anyToWire = (any: AnyValue): Any =>
  create(AnySchema, { typeUrl: any.typeUrl, value: any.value });
