/**
 * What must be added to and hidden in `lower` to make it `upper`: two directory trees walked side by side, in byte
 * order of names, parents first.
 *
 * Equal are entries with the same kind, mode, owner, device, size, target, xattrs and mtime; where a file system has
 * kept whole seconds only, the bytes of a file decide. Names of one inode stay together: when one of them changed,
 * or the set of names did, all are part of the difference. As containerd does, a removed directory is one whiteout
 * and the parents of what changed come along. Beyond it: a changed mode or owner of the root is a change too.
 */
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { checkSignal } from '../../base/context.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { FileOperations, FileStatus } from '../../platform/platform.ts';
import { isOverlayXattr } from './lower-tree.ts';

export interface TreeNode {
  /** Relative, "" for the root. */
  readonly path: string;
  readonly status: FileStatus;
  readonly target: string;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

export type TreeChange =
  | { readonly kind: 'hide'; readonly path: string }
  /** `linkTo` is the earlier name of the same inode. */
  | { readonly kind: 'put'; readonly node: TreeNode; readonly linkTo: string | undefined };

/** Entries looked at before other work of the process gets its turn. */
const turnEntries = 256;

interface Side {
  readonly root: string;
  /** Names of each inode that has more than one, and the inode of each such name. */
  readonly names: Map<string, string[]>;
}

export class TreeComparison {
  readonly #files: FileOperations;
  readonly #signal: AbortSignal;
  #steps = 0;

  constructor(files: FileOperations, { signal }: { signal: AbortSignal }) {
    this.#files = files;
    this.#signal = signal;
  }

  /** `lower` undefined is an empty tree. The trees should not change meanwhile. */
  async *changes(lower: string | undefined, upper: string): AsyncGenerator<TreeChange, void> {
    const above = await this.#side(upper);
    const below = lower === undefined ? undefined : await this.#side(lower);
    const linked = this.#changedLinks(below, above);
    const emitter = new Emitter(this.#files, upper);
    if (lower !== undefined && this.#rootDiffers(lower, upper)) yield* emitter.put('');
    for await (const { kind, path } of this.#walk({ lower, upper, linked }, ''))
      yield* kind === 'hide' ? emitter.hide(path) : emitter.put(path);
  }

  async #breathe(): Promise<void> {
    this.#steps += 1;
    if (this.#steps % turnEntries !== 0) return;
    checkSignal(this.#signal);
    await nextTurn();
  }

  /** Finds the hard links of a tree. */
  async #side(root: string): Promise<Side> {
    const names = new Map<string, string[]>();
    const pending = [''];
    for (let path = pending.pop(); path !== undefined; path = pending.pop())
      for (const name of namesIn(join(root, path))) {
        await this.#breathe();
        const child = path === '' ? name : `${path}/${name}`;
        const status = this.#files.lstat(join(root, child));
        if (status.kind === 'directory') pending.push(child);
        else if (status.linkCount > 1) {
          const inode = inodeOf(status);
          names.set(inode, [...(names.get(inode) ?? []), child]);
        }
      }
    return { root, names };
  }

  /** Names in `above` whose inode is named otherwise below, or changed: they are written whatever they look like. */
  #changedLinks(below: Side | undefined, above: Side): ReadonlySet<string> {
    const before = new Map<string, string>();
    for (const names of below?.names.values() ?? []) {
      const all = names.sort().join('\0');
      for (const name of names) before.set(name, all);
    }
    const changed = new Set<string>();
    for (const names of above.names.values()) {
      const all = names.sort().join('\0');
      const isSame = names.every((name) => before.get(name) === all);
      const isEqual = isSame && this.#same(below!.root, above.root, names[0]!);
      if (!isEqual) for (const name of names) changed.add(name);
    }
    this.#addSplit(below, above, changed);
    return changed;
  }

  /** Names that shared an inode below and stand alone now. */
  #addSplit(below: Side | undefined, above: Side, changed: Set<string>): void {
    if (below === undefined) return;
    const linkedAbove = new Set([...above.names.values()].flat());
    for (const names of below.names.values())
      for (const name of names)
        if (!linkedAbove.has(name) && this.#exists(above.root, name)) changed.add(name);
  }

  #exists(root: string, path: string): boolean {
    try {
      return this.#files.lstat(join(root, path)).kind !== 'directory';
    } catch {
      return false;
    }
  }

  async *#walk(pair: Pair, path: string): AsyncGenerator<{ kind: 'hide' | 'put'; path: string }, void> {
    const { lower, upper, linked } = pair;
    const below = new Set(lower === undefined ? [] : namesIn(join(lower, path)));
    const above = new Set(namesIn(join(upper, path)));
    for (const name of [...new Set([...below, ...above])].sort(byBytes)) {
      await this.#breathe();
      const child = path === '' ? name : `${path}/${name}`;
      if (!above.has(name)) {
        yield { kind: 'hide', path: child };
        continue;
      }
      const isBelow = lower !== undefined && below.has(name);
      if (!isBelow || linked.has(child) || !this.#same(lower, upper, child))
        yield { kind: 'put', path: child };
      if (this.#files.lstat(join(upper, child)).kind !== 'directory') continue;
      const isMerged = isBelow && this.#files.lstat(join(lower, child)).kind === 'directory';
      yield* this.#walk({ lower: isMerged ? lower : undefined, upper, linked }, child);
    }
  }

  #same(lower: string, upper: string, path: string): boolean {
    const [from, to] = [join(lower, path), join(upper, path)];
    const [before, after] = [this.#files.lstat(from), this.#files.lstat(to)];
    if (!sameOwnership(before, after) || before.modifiedAt !== after.modifiedAt) return false;
    if (before.kind !== 'directory' && before.sizeBytes !== after.sizeBytes) return false;
    if (before.deviceMajor !== after.deviceMajor || before.deviceMinor !== after.deviceMinor) return false;
    if (before.kind === 'symlink' && readlinkSync(from) !== readlinkSync(to)) return false;
    if (!sameXattrs(readXattrs(this.#files, from), readXattrs(this.#files, to))) return false;
    const isCoarse = after.modifiedAt % 1_000_000_000n === 0n;
    return after.kind !== 'file' || !isCoarse || sameBytes(from, to);
  }

  /** Its time does not count: it changes with every name. */
  #rootDiffers(lower: string, upper: string): boolean {
    const isSame = sameOwnership(this.#files.lstat(lower), this.#files.lstat(upper));
    return !isSame || !sameXattrs(readXattrs(this.#files, lower), readXattrs(this.#files, upper));
  }
}

interface Pair {
  readonly lower: string | undefined;
  readonly upper: string;
  /** Paths that are written whatever they look like. */
  readonly linked: ReadonlySet<string>;
}

/** Turns paths into changes: parents first, later names of an inode as links to the first. */
class Emitter {
  readonly #files: FileOperations;
  readonly #root: string;
  readonly #written = new Set<string>(['']);
  readonly #inodes = new Map<string, string>();

  constructor(files: FileOperations, root: string) {
    this.#files = files;
    this.#root = root;
  }

  *hide(path: string): Generator<TreeChange, void> {
    yield* this.#parents(path);
    yield { kind: 'hide', path };
  }

  *put(path: string): Generator<TreeChange, void> {
    yield* this.#parents(path);
    const node = this.#node(path);
    // A socket is a meeting place of running processes: no archive can hold it.
    if (node.status.kind === 'socket') return;
    if (node.status.kind === 'directory') this.#written.add(path);
    yield { kind: 'put', node, linkTo: this.#linkTo(node) };
  }

  *#parents(path: string): Generator<TreeChange, void> {
    const components = path.split('/').slice(0, -1);
    for (let depth = 1; depth <= components.length; depth += 1) {
      const parent = components.slice(0, depth).join('/');
      if (this.#written.has(parent)) continue;
      this.#written.add(parent);
      yield { kind: 'put', node: this.#node(parent), linkTo: undefined };
    }
  }

  #linkTo({ path, status }: TreeNode): string | undefined {
    if (status.kind === 'directory' || status.linkCount < 2) return undefined;
    const inode = inodeOf(status);
    const first = this.#inodes.get(inode);
    if (first === undefined) this.#inodes.set(inode, path);
    return first;
  }

  #node(path: string): TreeNode {
    const full = join(this.#root, path);
    const status = this.#files.lstat(full);
    const target = status.kind === 'symlink' ? withNodeErrors(() => readlinkSync(full)) : '';
    return { path, status, target, xattrs: readXattrs(this.#files, full) };
  }
}

const inodeOf = (status: FileStatus): string => `${status.device}:${status.inode}`;
const namesIn = (path: string): string[] => withNodeErrors(() => readdirSync(path));
const byBytes = (left: string, right: string): number =>
  Buffer.compare(Buffer.from(left), Buffer.from(right));

const sameOwnership = (left: FileStatus, right: FileStatus): boolean =>
  left.kind === right.kind && left.mode === right.mode && left.uid === right.uid && left.gid === right.gid;

function readXattrs(files: FileOperations, path: string): Map<string, Buffer> {
  const xattrs = new Map<string, Buffer>();
  for (const name of files.listXattrs(path)) {
    const value = isOverlayXattr(name) ? undefined : files.getXattr(path, name);
    if (value !== undefined) xattrs.set(name, value);
  }
  return xattrs;
}

function sameXattrs(left: ReadonlyMap<string, Buffer>, right: ReadonlyMap<string, Buffer>): boolean {
  if (left.size !== right.size) return false;
  for (const [name, value] of left) if (right.get(name)?.equals(value) !== true) return false;
  return true;
}

/** The files have the same size. */
function sameBytes(left: string, right: string): boolean {
  return withNodeErrors(() => {
    using cleanup = new DisposableStack();
    const fds = [left, right].map((path) => {
      const fd = openSync(path, 'r');
      cleanup.defer(() => closeSync(fd));
      return fd;
    });
    const buffers = [Buffer.allocUnsafe(64 * 1024), Buffer.allocUnsafe(64 * 1024)];
    for (;;) {
      const [a, b] = fds.map((fd, index) => readSync(fd, buffers[index]!)) as [number, number];
      if (a !== b || !buffers[0]!.subarray(0, a).equals(buffers[1]!.subarray(0, b))) return false;
      if (a === 0) return true;
    }
  });
}
