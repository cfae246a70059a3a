/**
 * From the names in an archive to places in the tree. Symlinks among the parents are resolved here, inside the root,
 * component by component; what is missing on the way is made, as the layers below have it.
 *
 * Differs from containerd: a parent that is a symlink in a lower layer is followed instead of being turned into a
 * directory.
 */
import { chmodSync, lstatSync, readlinkSync, type Stats } from 'node:fs';
import { type ContainerdError, invalidArgument } from '../../base/errors.ts';
import type { EntryMetadata } from './entry-metadata.ts';
import { isWhiteout, type LowerLayers, type LowerNode } from './lower-tree.ts';
import { makeDirectory, newDirectory, type Place } from './tree-place.ts';
import type { Whiteouts } from './whiteouts.ts';

const symlinkHops = 40;

export interface PlaceFinderDependencies {
  readonly metadata: EntryMetadata;
  readonly whiteouts: Whiteouts;
  readonly lowers: LowerLayers | undefined;
}

export class PlaceFinder {
  readonly root: Place;
  readonly #metadata: EntryMetadata;
  readonly #whiteouts: Whiteouts;
  readonly #lowers: LowerLayers | undefined;

  /** `root` is "" for `/` of a confined thread. */
  constructor({ metadata, whiteouts, lowers }: PlaceFinderDependencies, { root }: { root: string }) {
    this.#metadata = metadata;
    this.#whiteouts = whiteouts;
    this.#lowers = lowers;
    this.root = { node: newDirectory(), path: root };
  }

  /**
   * The directory that holds the last of `components`, made where it is missing. Symlinks on the way are followed
   * inside the root. Undefined when it is absent and may be. Errors: InvalidArgument.
   */
  parentOf(components: readonly string[], { mayBeAbsent }: { mayBeAbsent: boolean }): Place | undefined {
    let todo = components.slice(0, -1);
    let stack: Place[] = [this.root];
    let hops = 0;
    while (todo.length > 0) {
      const [name, ...rest] = todo as [string, ...string[]];
      todo = rest;
      if (name === '..') {
        // Only symlinks say so; above the root is the root.
        if (stack.length > 1) stack.pop();
        continue;
      }
      const step = this.#step(stack.at(-1)!, name, mayBeAbsent);
      if (step === undefined) return undefined;
      if (typeof step !== 'string') {
        stack.push(step);
        continue;
      }
      hops += 1;
      if (hops > symlinkHops) throw invalidArgument(`too many symlinks among the parents`);
      if (step.startsWith('/')) stack = stack.slice(0, 1);
      todo = [...step.split('/').filter((part) => part !== '' && part !== '.'), ...todo];
    }
    return stack.at(-1)!;
  }

  /** The directory of that name, which is there, as a place. */
  enter(parent: Place, name: string): Place {
    const known = parent.node.children.get(name);
    const node = known?.isDirectory === true ? known : newDirectory();
    node.isOpaque ||= parent.node.isOpaque;
    parent.node.children.set(name, node);
    return { node, path: `${parent.path}/${name}` };
  }

  /** What the layers below have at `path`, in a directory that does not hide them. */
  lowerOf(parent: Place, path: string): LowerNode | undefined {
    return parent.node.isOpaque ? undefined : this.#lowers?.lookup(this.#componentsOf(path));
  }

  /** Brings a lower file here, so that it can be linked to. */
  copyUp(path: string): void {
    this.#lowers?.copyUp(this.#componentsOf(path));
  }

  /** Whether the entry is how this tree says that there is nothing. */
  isHiding(stats: Stats): boolean {
    return this.#whiteouts.style === 'overlay' && isWhiteout(stats);
  }

  /** Makes the directory, or keeps the one there; one in the place of a whiteout is to hide what that hid. */
  directory(parent: Place, name: string): { place: Place; isKept: boolean; isHiding: boolean } {
    const before = makeDirectory(`${parent.path}/${name}`);
    return {
      place: this.enter(parent, name),
      isKept: before === 'kept',
      isHiding: before === 'whiteout' && this.#whiteouts.style === 'overlay',
    };
  }

  /** One component down: a directory, the text of a symlink, or undefined when there is none and none is wanted. */
  #step(parent: Place, name: string, mayBeAbsent: boolean): Place | string | undefined {
    const known = parent.node.children.get(name);
    const path = `${parent.path}/${name}`;
    if (known?.isDirectory === true) return { node: known, path };
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats?.isSymbolicLink() === true) return readlinkSync(path);
    if (stats?.isDirectory() === true) return this.enter(parent, name);
    const isHidden = stats !== undefined && this.isHiding(stats);
    if (stats !== undefined && !isHidden) throw this.#notDirectory(path);
    return this.#stepBelow(parent, name, { isHidden, mayBeAbsent });
  }

  /** The upper tree has nothing of that name: what is below decides. */
  #stepBelow(
    parent: Place,
    name: string,
    { isHidden, mayBeAbsent }: { isHidden: boolean; mayBeAbsent: boolean },
  ): Place | string | undefined {
    const path = `${parent.path}/${name}`;
    const lower = isHidden ? undefined : this.lowerOf(parent, path);
    if (lower?.status.kind === 'symlink') return lower.target;
    if (lower !== undefined && lower.status.kind !== 'directory') throw this.#notDirectory(path);
    // An upper directory of unknown lower layers (a rebase) must keep its whiteouts all the same.
    const isUnknownBelow = this.#whiteouts.style === 'overlay' && this.#lowers === undefined;
    if (lower === undefined && mayBeAbsent && !isUnknownBelow) return undefined;
    const { place, isHiding } = this.directory(parent, name);
    if (lower === undefined) chmodSync(path, 0o755);
    else this.#metadata.copy(path, lower);
    if (isHiding) this.#whiteouts.setOpaque(place);
    if (lower !== undefined)
      place.node.times = { accessedAt: lower.status.accessedAt, modifiedAt: lower.status.modifiedAt };
    return place;
  }

  #componentsOf(path: string): string[] {
    return path.slice(this.root.path.length + 1).split('/');
  }

  #notDirectory(path: string): ContainerdError {
    const name = this.#componentsOf(path).join('/');
    return invalidArgument(`parent ${JSON.stringify(name)} is not a directory`);
  }
}
