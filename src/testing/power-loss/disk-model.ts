/**
 * What a disk has of a directory tree after a power cut, by the least that POSIX promises: the bytes of a file are safe
 * after its own fsync, its name after an fsync of its directory, and everything after a syncfs. A rename within one
 * directory is one step. File systems keep more than that; a store that survives here survives there.
 *
 * The tree is built from file calls; whatever lies outside of `root` is ignored.
 */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { FileCall } from './syscall-trace.ts';

/** How much of what was not synced is there: an own decision for each write and each change of a directory. */
export type Survival = (what: 'data' | 'names') => boolean;

type DataChange = { readonly offset: number; readonly bytes: Buffer } | { readonly sizeBytes: number };
/** Names that one step sets or removes. */
type NameChange = readonly (readonly [name: string, node: Node | undefined])[];

class FileNode {
  readonly kind = 'file';
  current: Buffer = Buffer.alloc(0);
  saved: Buffer = Buffer.alloc(0);
  count = 0;
  savedCount = 0;
  pending: { readonly at: number; readonly change: DataChange }[] = [];

  change(change: DataChange): void {
    this.current = changed(this.current, change);
    this.count += 1;
    this.pending.push({ at: this.count, change });
  }
}

class DirectoryNode {
  readonly kind = 'directory';
  current = new Map<string, Node>();
  saved = new Map<string, Node>();
  count = 0;
  savedCount = 0;
  pending: { readonly at: number; readonly change: NameChange }[] = [];

  change(change: NameChange): void {
    setNames(this.current, change);
    this.count += 1;
    this.pending.push({ at: this.count, change });
  }
}

interface LinkNode {
  readonly kind: 'symlink';
  readonly target: string;
}

type Node = FileNode | DirectoryNode | LinkNode;

interface Descriptor {
  readonly node: Node;
  position: number;
  readonly append: boolean;
}

/** What a sync that has begun will have saved at its end. */
interface RunningSync {
  readonly save: () => void;
}

export class DiskModel {
  readonly #root: string;
  readonly #tree = new DirectoryNode();
  readonly #descriptors = new Map<number, Descriptor>();
  readonly #syncs = new Map<number, RunningSync>();

  /** `root` exists, is empty, and its own name is safe. */
  constructor(root: string) {
    this.#root = root;
  }

  apply(call: FileCall): void {
    switch (call.kind) {
      case 'open':
        this.#open(call);
        return;
      case 'close':
        this.#descriptors.delete(call.fd);
        return;
      case 'write':
        this.#write(call.fd, call.bytes, call.offset);
        return;
      case 'copy': {
        const source = this.#descriptors.get(call.from);
        if (source?.node.kind !== 'file') return;
        const bytes = source.node.current.subarray(source.position, source.position + call.lengthBytes);
        source.position += call.lengthBytes;
        this.#write(call.to, bytes, undefined);
        return;
      }
      case 'resize': {
        const node = this.#descriptors.get(call.fd)?.node;
        if (node?.kind === 'file') node.change({ sizeBytes: call.sizeBytes });
        return;
      }
      case 'sync-begin':
        this.#beginSync(call);
        return;
      case 'sync-end':
        this.#syncs.get(call.id)?.save();
        this.#syncs.delete(call.id);
        return;
      default:
        this.#changeNames(call);
    }
  }

  /** Writes the tree that `survival` leaves into the empty directory `target`. */
  writeSurvivors(target: string, survival: Survival): void {
    writeDirectory(this.#tree, target, survival);
  }

  #open(call: Extract<FileCall, { kind: 'open' }>): void {
    this.#descriptors.delete(call.fd);
    const place = this.#place(call.path);
    if (place === undefined) return;
    let node = place.parent.current.get(place.name) ?? (place.name === '' ? this.#tree : undefined);
    if (node === undefined) {
      if (!call.create) return;
      node = new FileNode();
      place.parent.change([[place.name, node]]);
    }
    if (call.truncate && node.kind === 'file' && node.current.length > 0) node.change({ sizeBytes: 0 });
    this.#descriptors.set(call.fd, { node, position: 0, append: call.append });
  }

  #write(fd: number, bytes: Buffer, offset: number | undefined): void {
    const descriptor = this.#descriptors.get(fd);
    if (descriptor?.node.kind !== 'file') return;
    const { node } = descriptor;
    const at = offset ?? (descriptor.append ? node.current.length : descriptor.position);
    node.change({ offset: at, bytes });
    if (offset === undefined) descriptor.position = at + bytes.length;
  }

  #beginSync({ id, fd, whole }: Extract<FileCall, { kind: 'sync-begin' }>): void {
    const node = this.#descriptors.get(fd)?.node;
    if (node === undefined) return;
    const nodes = whole ? everything(this.#tree) : [node];
    const saves = nodes.map(saveOf);
    this.#syncs.set(id, { save: () => saves.forEach((save) => save()) });
  }

  #changeNames(
    call: Exclude<
      FileCall,
      { kind: 'open' | 'close' | 'write' | 'copy' | 'resize' | 'sync-begin' | 'sync-end' }
    >,
  ): void {
    if (call.kind === 'rename' || call.kind === 'link') {
      const [from, to] = [this.#place(call.from), this.#place(call.to)];
      const node = from?.parent.current.get(from.name);
      if (from === undefined || to === undefined || node === undefined) return;
      if (call.kind === 'link') to.parent.change([[to.name, node]]);
      else if (from.parent === to.parent)
        to.parent.change([
          [from.name, undefined],
          [to.name, node],
        ]);
      else {
        to.parent.change([[to.name, node]]);
        from.parent.change([[from.name, undefined]]);
      }
      return;
    }
    const place = this.#place(call.path);
    if (place === undefined) return;
    if (call.kind === 'remove') place.parent.change([[place.name, undefined]]);
    else if (call.kind === 'make-directory') place.parent.change([[place.name, new DirectoryNode()]]);
    else place.parent.change([[place.name, { kind: 'symlink', target: call.target }]]);
  }

  #place(path: string): { parent: DirectoryNode; name: string } | undefined {
    const inside = relative(this.#root, path);
    if (inside.startsWith('..')) return undefined;
    if (inside === '') return { parent: this.#tree, name: '' };
    const parts = inside.split('/');
    const name = parts.pop() ?? '';
    let parent: Node = this.#tree;
    for (const part of parts) {
      const next: Node | undefined = parent.current.get(part);
      if (next?.kind !== 'directory') return undefined;
      parent = next;
    }
    return { parent, name };
  }
}

/** Saves what there is now, when it is run; changes that come in between stay pending. */
function saveOf(node: Node): () => void {
  if (node.kind === 'symlink') return () => {};
  const { count } = node;
  const { current } = node;
  const saved = current instanceof Map ? new Map(current) : current;
  return () => {
    // Of two syncs that overlap, the one that began later saved more.
    if (count <= node.savedCount) return;
    node.savedCount = count;
    (node as { saved: unknown }).saved = saved;
    (node as { pending: { at: number }[] }).pending = node.pending.filter(({ at }) => at > count);
  };
}

function everything(directory: DirectoryNode): Node[] {
  const found: Node[] = [directory];
  for (const node of found) if (node.kind === 'directory') found.push(...node.current.values());
  return found;
}

function writeDirectory(directory: DirectoryNode, target: string, survival: Survival): void {
  const names = new Map(directory.saved);
  for (const { change } of directory.pending) if (survival('names')) setNames(names, change);
  for (const [name, node] of names) {
    const path = join(target, name);
    if (node.kind === 'directory') {
      mkdirSync(path);
      writeDirectory(node, path, survival);
    } else if (node.kind === 'symlink') symlinkSync(node.target, path);
    else writeFileSync(path, survivingBytes(node, survival));
  }
}

function survivingBytes(node: FileNode, survival: Survival): Buffer {
  return node.pending.reduce<Buffer>(
    (bytes, { change }) => (survival('data') ? changed(bytes, change) : bytes),
    node.saved,
  );
}

function changed(bytes: Buffer, change: DataChange): Buffer {
  const end = 'sizeBytes' in change ? change.sizeBytes : change.offset + change.bytes.length;
  const sizeBytes = 'sizeBytes' in change ? end : Math.max(bytes.length, end);
  const result = Buffer.alloc(sizeBytes);
  bytes.copy(result, 0, 0, sizeBytes);
  if ('bytes' in change) change.bytes.copy(result, change.offset);
  return result;
}

function setNames(names: Map<string, Node>, change: NameChange): void {
  for (const [name, node] of change)
    if (node === undefined) names.delete(name);
    else names.set(name, node);
}
