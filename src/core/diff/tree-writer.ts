/**
 * Writes the entries of a layer into a directory tree, synchronously (it runs in a confined worker).
 *
 * The archive is hostile. Names with `..` are refused; symlinks among the parents are resolved inside the root
 * (place-finder.ts); no call follows a final symlink. The chroot around it is a second wall. A file is private (0600)
 * until its bytes are there, then it gets its metadata (entry-metadata.ts). Directory times are set when all is
 * written.
 *
 * Differs from containerd: a directory that follows its own whiteout becomes opaque (see also whiteouts.ts).
 */
import { closeSync, constants, ftruncateSync, lstatSync, openSync, symlinkSync, writeSync } from 'node:fs';
import { invalidArgument, wrap } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { fromNodeError } from '../../platform/errno.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { EntryMetadata, timesOf } from './entry-metadata.ts';
import { makeHardLink } from './hard-link.ts';
import { readLayerName, splitLayerPath } from './layer-path.ts';
import type { LowerLayers } from './lower-tree.ts';
import { PlaceFinder } from './place-finder.ts';
import type { TarEntry } from './tar-entry.ts';
import type { TarSink } from './tar-reader.ts';
import { madeFile, type PathNode, type Place, replacing } from './tree-place.ts';
import { type WhiteoutStyle, Whiteouts } from './whiteouts.ts';

export interface TreeWriterOptions {
  /** "" for `/` of a confined thread. */
  readonly root: string;
  readonly whiteouts: WhiteoutStyle;
  readonly lowers?: LowerLayers;
}

interface OpenFile {
  readonly fd: number;
  readonly entry: TarEntry;
  readonly path: string;
  endBytes: number;
}

const newFile = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;

export class TreeWriter implements TarSink {
  readonly #files: FileOperations;
  readonly #metadata: EntryMetadata;
  readonly #whiteouts: Whiteouts;
  readonly #finder: PlaceFinder;
  #open: OpenFile | undefined;

  constructor(
    { files, log }: { files: FileOperations; log: Logger },
    { root, whiteouts: style, lowers }: TreeWriterOptions,
  ) {
    this.#files = files;
    const metadata = new EntryMetadata({ files, log });
    const whiteouts = new Whiteouts({ files, metadata }, { style });
    this.#metadata = metadata;
    this.#whiteouts = whiteouts;
    this.#finder = new PlaceFinder({ metadata, whiteouts, lowers }, { root });
  }

  /** The layer had an entry for the root. */
  get hasRoot(): boolean {
    return this.#finder.root.node.times !== undefined;
  }

  /** Errors: InvalidArgument (name, kind), ResourceExhausted (disk), all with the entry's name. */
  entry(entry: TarEntry): void {
    named(entry, () => {
      const components = splitLayerPath(entry.path);
      const name = readLayerName(components);
      if (name.kind === 'ignored') return;
      if (components.length === 0) {
        this.#writeRoot(entry);
        return;
      }
      const base = components.at(-1)!;
      const isHiding = name.kind !== 'plain';
      const parent = this.#finder.parentOf(components, { mayBeAbsent: isHiding });
      if (parent === undefined) return;
      if (name.kind === 'opaque') this.#whiteouts.hideBelow(parent);
      else if (name.kind === 'whiteout') this.#whiteouts.hide(parent, name.hides, entry);
      else this.#write(parent, base, entry);
    });
  }

  data(bytes: Uint8Array, offset: number): void {
    const open = this.#open;
    if (open === undefined) return;
    named(open.entry, () => {
      let written = 0;
      while (written < bytes.length)
        written += writeSync(open.fd, bytes, written, bytes.length - written, offset + written);
      open.endBytes = offset + bytes.length;
    });
  }

  end(): void {
    const open = this.#open;
    if (open === undefined) return;
    named(open.entry, () => {
      this.#open = undefined;
      try {
        if (open.endBytes < open.entry.sizeBytes) ftruncateSync(open.fd, open.entry.sizeBytes);
        this.#metadata.setOpen(open.fd, open.path, open.entry);
      } finally {
        closeSync(open.fd);
      }
      this.#metadata.setTimes(open.path, timesOf(open.entry));
    });
  }

  /** All entries are written: directories get their times. */
  finish(): void {
    this.#finishDirectory(this.#finder.root.node, this.#finder.root.path);
  }

  /** Lets go of a file that an error left half written. */
  [Symbol.dispose](): void {
    if (this.#open !== undefined) closeSync(this.#open.fd);
    this.#open = undefined;
  }

  #finishDirectory(node: PathNode, path: string): void {
    for (const [name, child] of node.children)
      if (child.isDirectory) this.#finishDirectory(child, `${path}/${name}`);
    if (node.times !== undefined) this.#metadata.setTimes(path === '' ? '/' : path, node.times);
  }

  #writeRoot(entry: TarEntry): void {
    if (entry.kind !== 'directory') throw invalidArgument(`the root cannot be a ${entry.kind}`);
    const { node, path } = this.#finder.root;
    this.#metadata.set(path === '' ? '/' : path, entry);
    node.times = timesOf(entry);
  }

  #write(parent: Place, base: string, entry: TarEntry): void {
    // A place that is replaced forgets what was below it.
    if (entry.kind !== 'directory') {
      this.#writeOther(`${parent.path}/${base}`, entry);
      parent.node.children.set(base, madeFile);
      return;
    }
    const { place, isKept, isHiding } = this.#finder.directory(parent, base);
    if (isKept) this.#metadata.dropXattrs(place.path, entry);
    this.#metadata.set(place.path, entry);
    if (isHiding) this.#whiteouts.setOpaque(place);
    place.node.made = true;
    place.node.times = timesOf(entry);
  }

  #writeOther(path: string, entry: TarEntry): void {
    switch (entry.kind) {
      case 'file': {
        const fd = replacing(path, () => openSync(path, newFile, 0o600));
        this.#open = { fd, entry, path, endBytes: 0 };
        // Metadata follows when the bytes are there.
        return;
      }
      case 'symlink':
        replacing(path, () => symlinkSync(entry.linkPath, path));
        break;
      case 'hardlink':
        makeHardLink(this.#finder, path, entry);
        break;
      case 'fifo':
        replacing(path, () => this.#files.makeFifo(path, 0o600));
        break;
      case 'block':
      case 'character': {
        const { kind, deviceMajor, deviceMinor } = entry;
        replacing(path, () => this.#files.makeDevice(path, kind, 0o600, deviceMajor, deviceMinor));
        break;
      }
      case 'directory':
        return;
    }
    const isSymlink =
      entry.kind === 'symlink' || (entry.kind === 'hardlink' && lstatSync(path).isSymbolicLink());
    this.#metadata.set(path, entry, { isSymlink });
    this.#metadata.setTimes(path, timesOf(entry));
  }
}

/** What goes wrong tells the entry's name. */
function named(entry: TarEntry, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw wrap(`layer entry ${JSON.stringify(entry.path)}`, fromNodeError(error));
  }
}
