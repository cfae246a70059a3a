/**
 * What a layer takes away, carried out (`remove`) or kept in overlayfs' form (`overlay`), which is what an upper
 * directory needs: a device 0:0 hides a name, an attribute makes a directory opaque (kernel
 * Documentation/filesystems/overlayfs.rst).
 *
 * Differs from containerd: a whiteout never hides what its own layer brings, in whatever order they stand.
 */
import { readdirSync } from 'node:fs';
import type { FileOperations } from '../../platform/platform.ts';
import type { EntryMetadata } from './entry-metadata.ts';
import { opaqueXattr } from './lower-tree.ts';
import type { TarEntry } from './tar-entry.ts';
import { hasMade, type Place, removeTree, replacing } from './tree-place.ts';

export type WhiteoutStyle = 'remove' | 'overlay';

export class Whiteouts {
  readonly style: WhiteoutStyle;
  readonly #files: FileOperations;
  readonly #metadata: EntryMetadata;

  constructor(
    { files, metadata }: { files: FileOperations; metadata: EntryMetadata },
    { style }: { style: WhiteoutStyle },
  ) {
    this.#files = files;
    this.#metadata = metadata;
    this.style = style;
  }

  /** Hides what the layers below have at `base`; `entry` is the whiteout itself. */
  hide(parent: Place, base: string, entry: TarEntry): void {
    const node = parent.node.children.get(base);
    const path = `${parent.path}/${base}`;
    // What this layer brings is not what its whiteouts mean.
    if (node !== undefined && hasMade(node)) {
      this.hideBelow({ node, path });
      return;
    }
    if (this.style === 'remove') removeTree(path);
    else {
      replacing(path, () => this.#files.makeDevice(path, 'character', 0, 0, 0));
      this.#metadata.setOwner(path, entry);
    }
    parent.node.children.delete(base);
  }

  /** Hides everything that the layers below have in the directory. */
  hideBelow(place: Place): void {
    if (!place.node.isDirectory) return;
    if (this.style === 'remove') this.#removeForeign(place);
    else this.setOpaque(place);
  }

  /** For a directory that took the place of a whiteout, and must go on hiding what is below. */
  setOpaque({ node, path }: Place): void {
    this.#files.setXattr(path === '' ? '/' : path, opaqueXattr, Buffer.from('y'));
    node.isOpaque = true;
  }

  /** Removes from a directory what this layer did not make, however deep. */
  #removeForeign({ node, path }: Place): void {
    if (!node.isDirectory) return;
    for (const name of readdirSync(path === '' ? '/' : path)) {
      const child = node.children.get(name);
      const childPath = `${path}/${name}`;
      if (child !== undefined && hasMade(child)) this.#removeForeign({ node: child, path: childPath });
      else {
        removeTree(childPath);
        node.children.delete(name);
      }
    }
  }
}
