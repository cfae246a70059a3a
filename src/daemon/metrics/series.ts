/**
 * One family of a container's series, and how it is read from what was measured. All families are gauges, also what
 * only grows, because containerd says so. A controller that was not measured gives no samples.
 */
import type { Family, Labels } from './exposition.ts';

export interface Sample {
  readonly value: number | bigint;
  /** Beside the labels of the container. */
  readonly labels?: Labels;
}

export interface Series<Stats> {
  readonly family: Family;
  readonly read: (stats: Stats) => readonly Sample[];
}

/** `name` without its prefix, which all share. */
export const gauge = <Stats>(
  name: string,
  help: string,
  read: (stats: Stats) => readonly Sample[],
): Series<Stats> => ({ family: { name: `container_${name}`, help, type: 'gauge' }, read });

/** A value that one part of the measures holds: none when the part is absent. */
export const one = (value: number | bigint | undefined): readonly Sample[] =>
  value === undefined ? [] : [{ value }];

/** Names of the fields of `Part` that hold a `Value`. */
export type FieldOf<Part, Value> = {
  [Key in keyof Part]-?: Part[Key] extends Value ? Key : never;
}[keyof Part];
export type NumberField<Part> = FieldOf<Part, bigint>;
