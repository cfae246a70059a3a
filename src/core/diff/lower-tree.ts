/**
 * What lies below an overlay upper directory: looked at by the main thread on behalf of the unpacker, which is
 * confined to the upper one. Overlay rules (kernel Documentation/filesystems/overlayfs.rst): the first lower that
 * has a name decides, a 0:0 device hides it, an opaque directory ends the search.
 */
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import type { FileOperations, FileStatus } from '../../platform/platform.ts';

export const opaqueXattr = 'trusted.overlay.opaque';

export interface LowerNode {
  readonly status: FileStatus;
  /** Where it is. */
  readonly hostPath: string;
  /** Text of a symlink, "" for others. */
  readonly target: string;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

/** The layers below, as seen from the worker; each call may cross to another thread. */
export interface LowerLayers {
  lookup(components: readonly string[]): LowerNode | undefined;
  /** Puts a copy of a lower file at the same place in the tree being written; its parents are there. */
  copyUp(components: readonly string[]): void;
}

export class LowerTree {
  readonly #files: FileOperations;
  readonly #roots: readonly string[];

  /** `roots` from the top down, as lowerdir lists them. */
  constructor(files: FileOperations, roots: readonly string[]) {
    this.#files = files;
    this.#roots = roots;
  }

  /** The node of that name; no symlink is followed on the way. */
  lookup(components: readonly string[]): LowerNode | undefined {
    for (const root of this.#roots) {
      const found = this.#lookupIn(root, components);
      if (found === 'hidden') return undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #lookupIn(root: string, components: readonly string[]): LowerNode | 'hidden' | undefined {
    let path = root;
    let isOpaque = false;
    for (const [index, component] of components.entries()) {
      path = join(path, component);
      const stats = lstatSync(path, { throwIfNoEntry: false });
      if (stats === undefined) return isOpaque ? 'hidden' : undefined;
      if (isWhiteout(stats)) return 'hidden';
      if (index === components.length - 1) return this.#node(path);
      if (!stats.isDirectory()) return 'hidden';
      isOpaque ||= this.#files.getXattr(path, opaqueXattr)?.toString() === 'y';
    }
    return this.#node(root);
  }

  #node(hostPath: string): LowerNode {
    const status = this.#files.lstat(hostPath);
    const xattrs = new Map<string, Uint8Array>();
    for (const name of this.#files.listXattrs(hostPath)) {
      const value = isOverlayXattr(name) ? undefined : this.#files.getXattr(hostPath, name);
      if (value !== undefined) xattrs.set(name, value);
    }
    return { status, hostPath, target: status.kind === 'symlink' ? readlinkSync(hostPath) : '', xattrs };
  }
}

/** A character device 0:0 is how overlayfs says "nothing here". */
export const isWhiteout = (stats: Stats): boolean => stats.isCharacterDevice() && stats.rdev === 0;

/** Overlayfs' own notes: an image must not bring them along, a diff must not carry them away. */
export const isOverlayXattr = (name: string): boolean =>
  name.startsWith('trusted.overlay.') || name.startsWith('user.overlay.');
