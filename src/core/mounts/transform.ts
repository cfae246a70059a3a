/**
 * Types of mounts with transformers before a slash: `format/mkdir/overlay` is an overlay whose placeholders are filled
 * in and whose directories are made first. Transformers act from left to right.
 */
import type { Mount } from '../../platform/mount.ts';
import type { ActiveMount } from './mount-manager.ts';

/** Gives the mount as it goes on, without its own part of the type and its own options. May touch the disk. */
export type Transform = (
  mount: Mount,
  active: readonly ActiveMount[],
  options: { signal: AbortSignal },
) => Mount | Promise<Mount>;

export type Transformers = ReadonlyMap<string, Transform>;

export interface TransformedType {
  readonly transforms: readonly Transform[];
  /** What is left of the type. */
  readonly type: string;
}

/** Unknown words before a slash are left to whoever mounts it. */
export function splitType(type: string, transformers: Transformers): TransformedType {
  const transforms: Transform[] = [];
  let left = type;
  for (;;) {
    const slash = left.indexOf('/');
    const transform = slash < 0 ? undefined : transformers.get(left.slice(0, slash));
    if (transform === undefined) return { transforms, type: left };
    transforms.push(transform);
    left = left.slice(slash + 1);
  }
}

/** Splits the options that begin with the prefix, without it, from the others. */
export function takeOptions(
  options: readonly string[],
  prefix: string,
): { readonly taken: string[]; readonly left: string[] } {
  const taken: string[] = [];
  const left: string[] = [];
  for (const option of options) {
    if (option.startsWith(prefix)) taken.push(option.slice(prefix.length));
    else left.push(option);
  }
  return { taken, left };
}
