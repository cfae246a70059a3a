/**
 * Writes the entries of a layer into a directory tree, synchronously (it runs in a confined worker).
 *
 * The archive is hostile. Names with `..` are refused; symlinks among the parents are resolved here, inside the
 * root, component by component; no call follows a final symlink. The chroot around it is a second wall.
 * A file is private (0600) until its bytes are there; owner, xattrs, mode and times come last, in that order,
 * because each undoes the next. Directory times are set when all is written.
 *
 * Whiteouts are carried out (`remove`) or kept in overlayfs' form (`overlay`), which is what an upper directory
 * needs. Differs from containerd: a whiteout never hides what its own layer brings, in whatever order they stand; a
 * directory that follows its own whiteout becomes opaque; a parent that is a symlink in a lower layer is followed
 * instead of being turned into a directory; overlayfs' own xattrs are not taken from images.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { type ContainerdError, hasCode, invalidArgument, wrap } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { type Instant, instantOfNs } from '../../base/time.ts';
import { errnoName, fromNodeError } from '../../platform/errno.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { readLayerName, splitLayerPath } from './layer-path.ts';
import { isOverlayXattr, isWhiteout, type LowerNode, opaqueXattr } from './lower-tree.ts';
import type { TarEntry } from './tar-entry.ts';
import type { TarSink } from './tar-reader.ts';

export type WhiteoutStyle = 'remove' | 'overlay';

/** The layers below, as seen from the worker; each call may cross to another thread. */
export interface LowerLayers {
  lookup(components: readonly string[]): LowerNode | undefined;
  /** Puts a copy of a lower file at the same place in the tree being written; its parents are there. */
  copyUp(components: readonly string[]): void;
}

export interface TreeWriterOptions {
  /** "" for `/` of a confined thread. */
  readonly root: string;
  readonly whiteouts: WhiteoutStyle;
  readonly lowers?: LowerLayers;
}

/** What is known about a place in the tree. Dropping a node forgets all below it. */
interface PathNode {
  readonly children: Map<string, PathNode>;
  /** This layer made it. */
  made: boolean;
  /** It is a real directory; false when not known. */
  isDirectory: boolean;
  /** Lower layers do not show through here. */
  isOpaque: boolean;
  times?: { readonly accessedAt: Instant; readonly modifiedAt: Instant };
}

interface Place {
  readonly node: PathNode;
  readonly path: string;
}

const newDirectory = (): PathNode => ({
  children: new Map(),
  made: false,
  isDirectory: true,
  isOpaque: false,
});
/** Every file of the layer is this one: a layer of a million files must not cost a million objects. */
const madeFile: PathNode = Object.freeze({
  children: new Map(),
  made: true,
  isDirectory: false,
  isOpaque: false,
});
const symlinkHops = 40;
const latestNs = 2n ** 63n - 1n;
const newFile = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;

/** As containerd bounds times: outside of what nanoseconds in 64 bits can say is the epoch. */
const boundTime = (time: Instant): Instant => (time < 0n || time > latestNs ? instantOfNs(0n) : time);

export class TreeWriter implements TarSink {
  readonly #files: FileOperations;
  readonly #log: Logger;
  readonly #root: string;
  readonly #whiteouts: WhiteoutStyle;
  readonly #lowers: LowerLayers | undefined;
  readonly #tree = newDirectory();
  readonly #isPrivileged = process.geteuid?.() === 0;
  #open:
    | { readonly fd: number; readonly entry: TarEntry; readonly path: string; endBytes: number }
    | undefined;

  constructor({ files, log }: { files: FileOperations; log: Logger }, options: TreeWriterOptions) {
    this.#files = files;
    this.#log = log;
    this.#root = options.root;
    this.#whiteouts = options.whiteouts;
    this.#lowers = options.lowers;
  }

  /** Errors: InvalidArgument (name, kind), ResourceExhausted (disk), all with the entry's name. */
  entry(entry: TarEntry): void {
    this.#named(entry, () => {
      const components = splitLayerPath(entry.path);
      const name = readLayerName(components);
      if (name.kind === 'ignored') return;
      if (components.length === 0) {
        this.#writeRoot(entry);
        return;
      }
      const base = components.at(-1)!;
      const isHiding = name.kind !== 'plain';
      const parent = this.#parentOf(components, { mayBeAbsent: isHiding });
      if (parent === undefined) return;
      if (name.kind === 'opaque') this.#makeOpaque(parent);
      else if (name.kind === 'whiteout') this.#hide(parent, name.hides, entry);
      else this.#write(parent, base, entry);
    });
  }

  data(bytes: Uint8Array, offset: number): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#named(open.entry, () => {
      let written = 0;
      while (written < bytes.length)
        written += writeSync(open.fd, bytes, written, bytes.length - written, offset + written);
      open.endBytes = offset + bytes.length;
    });
  }

  end(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#named(open.entry, () => {
      this.#open = undefined;
      try {
        if (open.endBytes < open.entry.sizeBytes) ftruncateSync(open.fd, open.entry.sizeBytes);
        if (this.#isPrivileged) fchownSync(open.fd, open.entry.uid, open.entry.gid);
        this.#setXattrs(open.path, open.entry.xattrs);
        fchmodSync(open.fd, open.entry.mode);
      } finally {
        closeSync(open.fd);
      }
      this.#setTimes(open.path, open.entry.modifiedAt);
    });
  }

  /** All entries are written: directories get their times. */
  finish(): void {
    this.#finishDirectory(this.#tree, this.#root);
  }

  /** Lets go of a file that an error left half written. */
  [Symbol.dispose](): void {
    if (this.#open !== undefined) closeSync(this.#open.fd);
    this.#open = undefined;
  }

  #finishDirectory(node: PathNode, path: string): void {
    for (const [name, child] of node.children)
      if (child.isDirectory) this.#finishDirectory(child, `${path}/${name}`);
    if (node.times !== undefined)
      this.#files.setTimes(path === '' ? '/' : path, node.times.accessedAt, node.times.modifiedAt);
  }

  #named(entry: TarEntry, work: () => void): void {
    try {
      work();
    } catch (error) {
      throw wrap(`layer entry ${JSON.stringify(entry.path)}`, fromNodeError(error));
    }
  }

  #writeRoot(entry: TarEntry): void {
    if (entry.kind !== 'directory') throw invalidArgument(`the root cannot be a ${entry.kind}`);
    this.#setMetadata(this.#root === '' ? '/' : this.#root, entry);
    this.#tree.times = timesOf(entry);
  }

  #write(parent: Place, base: string, entry: TarEntry): void {
    const path = `${parent.path}/${base}`;
    // A place that is replaced forgets what was below it.
    if (entry.kind !== 'directory') {
      this.#writeOther(path, entry);
      parent.node.children.set(base, madeFile);
      return;
    }
    const replaced = this.#makeDirectory(path);
    const place = this.#enter(parent, base);
    if (replaced === 'kept') this.#dropXattrs(path, entry);
    this.#setMetadata(path, entry);
    if (replaced === 'whiteout') this.#setOpaque(place);
    place.node.made = true;
    place.node.times = timesOf(entry);
  }

  #writeOther(path: string, entry: TarEntry): void {
    switch (entry.kind) {
      case 'file': {
        const fd = this.#replacing(path, () => openSync(path, newFile, 0o600));
        this.#open = { fd, entry, path, endBytes: 0 };
        // Metadata follows when the bytes are there.
        return;
      }
      case 'symlink':
        this.#replacing(path, () => symlinkSync(entry.linkPath, path));
        break;
      case 'hardlink':
        this.#link(path, entry);
        break;
      case 'fifo':
        this.#replacing(path, () => this.#files.makeFifo(path, 0o600));
        break;
      case 'block':
      case 'character': {
        const { kind, deviceMajor, deviceMinor } = entry;
        this.#replacing(path, () => this.#files.makeDevice(path, kind, 0o600, deviceMajor, deviceMinor));
        break;
      }
      case 'directory':
        return;
    }
    const isSymlink =
      entry.kind === 'symlink' || (entry.kind === 'hardlink' && lstatSync(path).isSymbolicLink());
    this.#setMetadata(path, entry, isSymlink);
    this.#setTimes(path, entry.modifiedAt);
  }

  /** Whatever is there gives way; `make` must fail with EEXIST instead of reusing it. */
  #replacing<Result>(path: string, make: () => Result): Result {
    try {
      return make();
    } catch (error) {
      if (errnoName(error) !== 'EEXIST') throw error;
    }
    removeTree(path);
    return make();
  }

  #makeDirectory(path: string): 'kept' | 'new' | 'whiteout' {
    try {
      mkdirSync(path, 0o700);
      return 'new';
    } catch (error) {
      if (errnoName(error) !== 'EEXIST') throw error;
    }
    const stats = lstatSync(path);
    if (stats.isDirectory()) return 'kept';
    removeTree(path);
    mkdirSync(path, 0o700);
    return this.#whiteouts === 'overlay' && isWhiteout(stats) ? 'whiteout' : 'new';
  }

  #link(path: string, entry: TarEntry): void {
    const target = splitLayerPath(entry.linkPath);
    const absent = (): ContainerdError =>
      invalidArgument(`hard link to ${JSON.stringify(entry.linkPath)}, which is not there`);
    const parent = target.length === 0 ? undefined : this.#parentOf(target, { mayBeAbsent: true });
    if (parent === undefined) throw absent();
    const targetPath = `${parent.path}/${target.at(-1)}`;
    const place = this.#componentsOf(targetPath);
    const existing = lstatSync(targetPath, { throwIfNoEntry: false });
    if (existing?.isDirectory() === true) throw invalidArgument('hard link to a directory');
    if (existing === undefined) {
      const lower = parent.node.isOpaque ? undefined : this.#lowers?.lookup(place);
      if (lower === undefined) throw absent();
      if (lower.status.kind === 'directory') throw invalidArgument('hard link to a directory');
      this.#lowers?.copyUp(place);
    } else if (this.#whiteouts === 'overlay' && isWhiteout(existing)) throw absent();
    // A link to itself changes nothing; replacing would remove the target first.
    if (targetPath !== path) this.#replacing(path, () => linkSync(targetPath, path));
  }

  #hide(parent: Place, base: string, entry: TarEntry): void {
    const node = parent.node.children.get(base);
    const path = `${parent.path}/${base}`;
    // What this layer brings is not what its whiteouts mean.
    if (node !== undefined && hasMade(node)) {
      this.#makeOpaque({ node, path });
      return;
    }
    if (this.#whiteouts === 'remove') removeTree(path);
    else {
      this.#replacing(path, () => this.#files.makeDevice(path, 'character', 0, 0, 0));
      if (this.#isPrivileged) lchownSync(path, entry.uid, entry.gid);
    }
    parent.node.children.delete(base);
  }

  #makeOpaque(place: Place): void {
    if (!place.node.isDirectory) return;
    if (this.#whiteouts === 'remove') this.#removeForeign(place);
    else this.#setOpaque(place);
  }

  #setOpaque({ node, path }: Place): void {
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

  /**
   * The directory that holds the last of `components`, made where it is missing. Symlinks on the way are followed
   * inside the root. Undefined when it is absent and may be.
   */
  #parentOf(components: readonly string[], { mayBeAbsent }: { mayBeAbsent: boolean }): Place | undefined {
    let todo = components.slice(0, -1);
    let stack: Place[] = [{ node: this.#tree, path: this.#root }];
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

  /** One component down: a directory, the text of a symlink, or undefined when there is none and none is wanted. */
  #step(parent: Place, name: string, mayBeAbsent: boolean): Place | string | undefined {
    const known = parent.node.children.get(name);
    const path = `${parent.path}/${name}`;
    if (known?.isDirectory === true) return { node: known, path };
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats?.isSymbolicLink() === true) return readlinkSync(path);
    if (stats?.isDirectory() === true) return this.#enter(parent, name);
    const isHidden = stats !== undefined && this.#whiteouts === 'overlay' && isWhiteout(stats);
    if (stats !== undefined && !isHidden) throw notDirectory(this.#componentsOf(path));
    return this.#stepBelow(parent, name, { isHidden, mayBeAbsent });
  }

  /** The upper tree has nothing of that name: what is below decides. */
  #stepBelow(
    parent: Place,
    name: string,
    { isHidden, mayBeAbsent }: { isHidden: boolean; mayBeAbsent: boolean },
  ): Place | string | undefined {
    const path = `${parent.path}/${name}`;
    const isCut = isHidden || parent.node.isOpaque;
    const lower = isCut ? undefined : this.#lowers?.lookup(this.#componentsOf(path));
    if (lower?.status.kind === 'symlink') return lower.target;
    if (lower !== undefined && lower.status.kind !== 'directory')
      throw notDirectory(this.#componentsOf(path));
    // An upper directory of unknown lower layers (a rebase) must keep its whiteouts all the same.
    const isUnknownBelow = this.#whiteouts === 'overlay' && this.#lowers === undefined;
    if (lower === undefined && mayBeAbsent && !isUnknownBelow) return undefined;
    const replaced = this.#makeDirectory(path);
    if (lower === undefined) chmodSync(path, 0o755);
    else this.#copyDirectory(path, lower);
    const place = this.#enter(parent, name);
    if (replaced === 'whiteout') this.#setOpaque(place);
    if (lower !== undefined)
      place.node.times = { accessedAt: lower.status.accessedAt, modifiedAt: lower.status.modifiedAt };
    return place;
  }

  #enter(parent: Place, name: string): Place {
    const known = parent.node.children.get(name);
    const node = known?.isDirectory === true ? known : newDirectory();
    node.isOpaque ||= parent.node.isOpaque;
    parent.node.children.set(name, node);
    return { node, path: `${parent.path}/${name}` };
  }

  #componentsOf(path: string): string[] {
    return path.slice(this.#root.length + 1).split('/');
  }

  #copyDirectory(path: string, { status, xattrs }: LowerNode): void {
    if (this.#isPrivileged) lchownSync(path, status.uid, status.gid);
    this.#setXattrs(path, xattrs);
    chmodSync(path, status.mode);
  }

  #setMetadata(path: string, entry: TarEntry, isSymlink = false): void {
    if (this.#isPrivileged) lchownSync(path, entry.uid, entry.gid);
    this.#setXattrs(path, entry.xattrs);
    // chown clears setuid and setgid, so the mode comes after it.
    if (!isSymlink) chmodSync(path, entry.mode);
  }

  /** A directory that a layer names again has the attributes that this layer gives it, and no others of images. */
  #dropXattrs(path: string, { xattrs }: TarEntry): void {
    for (const name of this.#files.listXattrs(path))
      if (name.startsWith('user.') && !isOverlayXattr(name) && !xattrs.has(name))
        this.#files.removeXattr(path, name);
  }

  #setXattrs(path: string, xattrs: ReadonlyMap<string, Uint8Array>): void {
    for (const [name, value] of xattrs) {
      if (isOverlayXattr(name) || (name.startsWith('trusted.') && !this.#isPrivileged)) continue;
      try {
        this.#files.setXattr(path, name, value);
      } catch (error) {
        if (!hasCode(error, 'Unimplemented')) throw error;
        this.#log.warn({ path, xattr: name }, 'file system does not take an extended attribute');
      }
    }
  }

  #setTimes(path: string, modifiedAt: Instant): void {
    const time = boundTime(modifiedAt);
    this.#files.setTimes(path, time, time);
  }
}

function timesOf(entry: TarEntry): { accessedAt: Instant; modifiedAt: Instant } {
  const time = boundTime(entry.modifiedAt);
  return { accessedAt: time, modifiedAt: time };
}

const removeTree = (path: string): void => rmSync(path, { recursive: true, force: true });

const notDirectory = (components: readonly string[]): ContainerdError =>
  invalidArgument(`parent ${JSON.stringify(components.join('/'))} is not a directory`);

/** The layer made this or something below it. */
function hasMade(node: PathNode): boolean {
  if (node.made) return true;
  for (const child of node.children.values()) if (hasMade(child)) return true;
  return false;
}
