/** A hard link of a layer, to a file of the same layer or of one below, which is then brought here first. */
import { linkSync, lstatSync } from 'node:fs';
import { type ContainerdError, invalidArgument } from '../../base/errors.ts';
import { splitLayerPath } from './layer-path.ts';
import type { PlaceFinder } from './place-finder.ts';
import type { TarEntry } from './tar-entry.ts';
import { replacing } from './tree-place.ts';

/** Makes `path` a link to what `entry` names. Errors: InvalidArgument when that is absent or a directory. */
export function makeHardLink(finder: PlaceFinder, path: string, entry: TarEntry): void {
  const target = targetOf(finder, entry);
  // A link to itself changes nothing; replacing would remove the target first.
  if (target !== path) replacing(path, () => linkSync(target, path));
}

function targetOf(finder: PlaceFinder, { linkPath }: TarEntry): string {
  const absent = (): ContainerdError =>
    invalidArgument(`hard link to ${JSON.stringify(linkPath)}, which is not there`);
  const components = splitLayerPath(linkPath);
  const parent = components.length === 0 ? undefined : finder.parentOf(components, { mayBeAbsent: true });
  if (parent === undefined) throw absent();
  const path = `${parent.path}/${components.at(-1)}`;
  const existing = lstatSync(path, { throwIfNoEntry: false });
  if (existing?.isDirectory() === true) throw invalidArgument('hard link to a directory');
  if (existing === undefined) {
    const lower = finder.lowerOf(parent, path);
    if (lower === undefined) throw absent();
    if (lower.status.kind === 'directory') throw invalidArgument('hard link to a directory');
    finder.copyUp(path);
  } else if (finder.isHiding(existing)) throw absent();
  return path;
}
