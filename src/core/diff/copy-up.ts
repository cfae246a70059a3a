/** Lower layers for an unpacker that writes into an upper directory: look-ups, and copies for hard links. */
import { chmodSync, closeSync, constants, copyFileSync, lchownSync, openSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { notFound } from '../../base/errors.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { type LowerLayers, type LowerNode, LowerTree } from './lower-tree.ts';

export class OverlayLowers implements LowerLayers {
  readonly #files: FileOperations;
  readonly #tree: LowerTree;
  readonly #upper: string;

  constructor(files: FileOperations, { upper, lowers }: { upper: string; lowers: readonly string[] }) {
    this.#files = files;
    this.#tree = new LowerTree(files, lowers);
    this.#upper = upper;
  }

  lookup(components: readonly string[]): LowerNode | undefined {
    return this.#tree.lookup(components);
  }

  /** Errors: NotFound. The unpacker made the parents, as directories, before it asked. */
  copyUp(components: readonly string[]): void {
    const node = this.#tree.lookup(components);
    if (node === undefined) throw notFound('lower file', components.join('/'));
    withNodeErrors(() => this.#copy(node, join(this.#upper, ...components)));
  }

  #copy(node: LowerNode, path: string): void {
    const { status } = node;
    switch (status.kind) {
      case 'file':
        // Private until owner and mode are right.
        closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600));
        copyFileSync(node.hostPath, path, constants.COPYFILE_FICLONE);
        break;
      case 'symlink':
        symlinkSync(node.target, path);
        break;
      case 'fifo':
        this.#files.makeFifo(path, 0o600);
        break;
      case 'block':
      case 'character':
        this.#files.makeDevice(path, status.kind, 0o600, status.deviceMajor, status.deviceMinor);
        break;
      default:
        throw notFound('lower file', path);
    }
    lchownSync(path, status.uid, status.gid);
    for (const [name, value] of node.xattrs) this.#files.setXattr(path, name, value);
    if (status.kind !== 'symlink') chmodSync(path, status.mode);
    this.#files.setTimes(path, status.accessedAt, status.modifiedAt);
  }
}
