/**
 * google.protobuf.FieldMask as containerd reads it: a path is compared literally, and what follows the first dot is a
 * map's key whole, dots and slashes included (`labels.a.b/c` is the key `a.b/c`).
 */
import { type ContainerdError, invalidArgument } from './errors.ts';
import { type Labels, labelOf, withLabel, withoutEmptyLabels } from './labels.ts';

/** What a mask may name: the whole field, and for maps one entry. */
export interface MaskedField {
  readonly whole: () => void;
  readonly entry?: (key: string) => void;
}

/** Calls what each path names, in order; `what` tells the object in the error, "" for nothing. Errors: InvalidArgument for a path that names nothing of `fields`. */
export function applyMask(
  what: string,
  paths: readonly string[],
  fields: Readonly<Record<string, MaskedField>>,
): void {
  for (const path of paths) {
    if (Object.hasOwn(fields, path)) {
      fields[path]?.whole();
      continue;
    }
    const dot = path.indexOf('.');
    const name = path.slice(0, Math.max(dot, 0));
    const entry = Object.hasOwn(fields, name) ? fields[name]?.entry : undefined;
    if (entry === undefined) throw cannotUpdate(path, what);
    entry(path.slice(dot + 1));
  }
}

/** The error for a path that may not be named. */
export const cannotUpdate = (path: string, what: string): ContainerdError =>
  invalidArgument(`cannot update ${JSON.stringify(path)} field${what === '' ? '' : ` on ${what}`}`);

/** The mask of an object whose labels alone may change; no paths replace all. Errors: InvalidArgument. */
export function maskLabels(what: string, current: Labels, given: Labels, paths: readonly string[]): Labels {
  if (paths.length === 0) return withoutEmptyLabels(given);
  let labels = current;
  applyMask(what, paths, {
    labels: {
      whole: () => {
        labels = given;
      },
      entry: (key) => {
        labels = withLabel(labels, key, labelOf(given, key) ?? '');
      },
    },
  });
  return withoutEmptyLabels(labels);
}
