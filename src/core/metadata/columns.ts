/** How values stand in columns and come back. What is read here was written here: shapes are trusted. */
import type { SQLOutputValue } from 'node:sqlite';
import type { AnyValue } from '../../base/any-value.ts';
import type { Labels } from '../../base/labels.ts';
import { type Instant, instantOfNs } from '../../base/time.ts';
import type { Row } from './database.ts';

export const text = (row: Row, column: string): string => row[column] as string;
export const textOrUndefined = (row: Row, column: string): string | undefined =>
  (row[column] as string | null) ?? undefined;
export const integer = (row: Row, column: string): number => Number(row[column]);
export const instant = (row: Row, column: string): Instant => instantOfNs(row[column] as bigint);
export const labels = (row: Row, column = 'labels'): Labels => parseMap(row[column]);

const none: Labels = Object.freeze({});

/** Most maps are empty, and lists are long. */
function parseMap(value: SQLOutputValue | undefined): Labels {
  return value === '{}' ? none : (JSON.parse(value as string) as Labels);
}

export const any = (row: Row, column: string): AnyValue | undefined => {
  const typeUrl = row[`${column}_url`];
  return typeof typeUrl === 'string' ? { typeUrl, value: row[column] as Uint8Array } : undefined;
};

/** The two columns of `any`: URL and bytes. */
export const anyColumns = (value: AnyValue | undefined): [string | null, Uint8Array | null] =>
  value === undefined ? [null, null] : [value.typeUrl, value.value];

export type Extensions = Readonly<Record<string, AnyValue>>;

export const extensionsColumn = (extensions: Extensions): string =>
  JSON.stringify(
    Object.fromEntries(
      Object.entries(extensions).map(([name, { typeUrl, value }]) => [
        name,
        [typeUrl, Buffer.from(value).toString('base64')],
      ]),
    ),
  );

export const extensions = (row: Row): Extensions =>
  Object.fromEntries(
    Object.entries(JSON.parse(text(row, 'extensions')) as Record<string, [string, string]>).map(
      ([name, [typeUrl, value]]) => [name, { typeUrl, value: Buffer.from(value, 'base64') }],
    ),
  );

/** One entry of a masked update: the given value, or none. */
export const maskExtension = (current: Extensions, given: Extensions, key: string): Extensions => {
  const others = Object.entries(current).filter(([name]) => name !== key);
  const value = Object.hasOwn(given, key) ? given[key] : undefined;
  return Object.fromEntries(value === undefined ? others : [...others, [key, value]]);
};
