/** The forms in which cgroup files hold numbers, and how they are read: a file that is not there tells nothing. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromNodeError, isErrno } from '../errno.ts';

/** What the kernel writes as "max" is the largest number, as containerd passes it on. */
export const unlimited = 0xffff_ffff_ffff_ffffn;

/** Anything but a decimal number or "max" counts as 0. */
export function parseCount(text: string | undefined): bigint {
  const trimmed = text?.trim() ?? '';
  if (trimmed === 'max') return unlimited;
  if (!/^-?\d{1,20}$/.test(trimmed)) return 0n;
  const value = BigInt(trimmed);
  return value < 0n ? 0n : BigInt.asUintN(64, value);
}

/** "key value" lines. */
export function parseFlatKeyed(text: string | undefined): ReadonlyMap<string, bigint> {
  const pairs = (text ?? '').split('\n').flatMap((line): [string, bigint][] => {
    const [key, value, ...rest] = line.trim().split(/\s+/);
    return key === undefined || value === undefined || rest.length > 0 ? [] : [[key, parseCount(value)]];
  });
  return new Map(pairs);
}

/** "name key=value key=value" lines, values as text. */
export function parseNestedKeyed(
  text: string | undefined,
): { name: string; values: ReadonlyMap<string, string> }[] {
  return (text ?? '').split('\n').flatMap((line) => {
    const [name, ...pairs] = line.trim().split(/\s+/);
    if (name === undefined || name === '') return [];
    const values = pairs.flatMap((pair): [string, string][] => {
      const equals = pair.indexOf('=');
      return equals < 0 ? [] : [[pair.slice(0, equals), pair.slice(equals + 1)]];
    });
    return [{ name, values: new Map(values) }];
  });
}

export interface RdmaEntry {
  readonly device: string;
  readonly hcaHandles: number;
  readonly hcaObjects: number;
}

export function parseRdma(text: string | undefined): RdmaEntry[] {
  const count = (value: string | undefined): number =>
    value === 'max' ? 0xffff_ffff : Number(parseCount(value) & 0xffff_ffffn);
  return parseNestedKeyed(text).map(({ name, values }) => ({
    device: name,
    hcaHandles: count(values.get('hca_handle')),
    hcaObjects: count(values.get('hca_object')),
  }));
}

/** Reads files of one cgroup directory. */
export class CgroupFolder {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined where this kernel or this cgroup does not have the file. */
  read(name: string): string | undefined {
    try {
      return readFileSync(join(this.#path, name), 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP', 'EINVAL')) return undefined;
      throw fromNodeError(error);
    }
  }

  count(name: string): bigint {
    return parseCount(this.read(name));
  }

  /** Page sizes as hugetlb files name them ("2MB"), by the suffix of the file that holds the use. */
  hugePageSizes(suffix: string): string[] {
    try {
      return readdirSync(this.#path)
        .filter((name) => name.startsWith('hugetlb.') && name.endsWith(suffix) && !name.includes('.rsvd.'))
        .map((name) => name.slice('hugetlb.'.length, -suffix.length))
        .sort();
    } catch (error) {
      throw fromNodeError(error);
    }
  }
}
