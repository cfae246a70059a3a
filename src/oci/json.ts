/**
 * Reading JSON that strangers wrote: bounded, typed member by member, and every complaint names the place.
 * Prototype members are never seen as data.
 */
import { invalidArgument } from '../base/errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Errors: InvalidArgument when it is too long, not UTF-8, not JSON or no object. */
export const parseJsonObject = (bytes: Uint8Array, what: string, maxBytes: number): JsonObject =>
  asObject(parseJson(bytes, what, maxBytes), what);

function parseJson(bytes: Uint8Array, what: string, maxBytes: number): unknown {
  if (bytes.byteLength > maxBytes)
    throw invalidArgument(`${what} has ${bytes.byteLength} bytes, more than the ${maxBytes} allowed`);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalidArgument(`${what} is not valid JSON: ${(error as Error).message}`, error);
  }
}

export function asObject(value: unknown, where: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidArgument(`${where} must be an object`);
  return value as JsonObject;
}

/** The member, or undefined when it is absent or null, as Go's decoder has it. */
export function member(object: JsonObject, name: string): unknown {
  const value = Object.hasOwn(object, name) ? object[name] : undefined;
  return value === null ? undefined : value;
}

export function optionalString(object: JsonObject, name: string, where: string): string | undefined {
  const value = member(object, name);
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw invalidArgument(`${where}.${name} must be a string`);
  return value;
}

export function optionalArray(
  object: JsonObject,
  name: string,
  where: string,
): readonly unknown[] | undefined {
  const value = member(object, name);
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalidArgument(`${where}.${name} must be an array`);
  return value;
}

export function optionalStrings(
  object: JsonObject,
  name: string,
  where: string,
): readonly string[] | undefined {
  const values = optionalArray(object, name, where);
  if (values === undefined) return undefined;
  for (const [index, value] of values.entries())
    if (typeof value !== 'string') throw invalidArgument(`${where}.${name}[${index}] must be a string`);
  return values as readonly string[];
}

export function optionalStringMap(
  object: JsonObject,
  name: string,
  where: string,
): Readonly<Record<string, string>> | undefined {
  const value = member(object, name);
  if (value === undefined) return undefined;
  const entries = Object.entries(asObject(value, `${where}.${name}`));
  for (const [key, text] of entries)
    if (typeof text !== 'string')
      throw invalidArgument(`${where}.${name}[${JSON.stringify(key)}] must be a string`);
  return Object.fromEntries(entries) as Record<string, string>;
}

/** Members of a set that Go writes as `{"key": {}}`. */
export function optionalSet(object: JsonObject, name: string, where: string): readonly string[] | undefined {
  const value = member(object, name);
  return value === undefined ? undefined : Object.keys(asObject(value, `${where}.${name}`));
}

/** Errors: InvalidArgument when it is too long, not UTF-8, not JSON or no array. */
export function parseJsonArray(bytes: Uint8Array, what: string, maxBytes: number): readonly unknown[] {
  const value = parseJson(bytes, what, maxBytes);
  if (!Array.isArray(value)) throw invalidArgument(`${what} must be an array`);
  return value;
}
