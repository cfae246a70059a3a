/** Words that several services share, between wire and core: names, masks, optional fields, blocks of a stream. */
import type { FieldMask } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../base/any-value.ts';
import { type ContainerdError, hasCode, invalidArgument, notFound } from '../base/errors.ts';
import { anyToWire } from '../wire/any.ts';

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

export const maskPaths = (mask: FieldMask | undefined): readonly string[] => mask?.paths ?? [];

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
