/**
 * JSON in which integers beyond 2^53 survive: the runtime spec has unsigned 64-bit ones (RLIM_INFINITY), and a rounded
 * one is refused by runc. They are kept as raw text between parse and print.
 */

/** As JSON.rawJSON makes it: printed as its own text. */
interface RawNumber {
  readonly rawJSON: string;
}

interface RawJson {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): RawNumber;
}

const json = JSON as unknown as RawJson;

/** Errors: SyntaxError, as JSON.parse. */
export const parseExact = (text: string): unknown =>
  json.parse(text, (_key, value, { source }) =>
    typeof value === 'number' &&
    source !== undefined &&
    !Number.isSafeInteger(value) &&
    /^-?\d+$/.test(source)
      ? json.rawJSON(source)
      : value,
  );

/** A number of the parsed text as an integer, of whatever size; undefined for everything else. */
export function exactInteger(value: unknown): bigint | undefined {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === 'object' && value !== null && 'rawJSON' in value) return BigInt(String(value.rawJSON));
  return undefined;
}

/** The value to put where `exactInteger` read one. */
export const rawInteger = (value: bigint): unknown => json.rawJSON(value.toString());
