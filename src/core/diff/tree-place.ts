/**
 * What is known about places in a tree that a layer is written into, and how a place is taken. The knowledge is what
 * tells this layer's own files from those that were there; files themselves are not remembered one by one.
 */
import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import type { Instant } from '../../base/time.ts';
import { isErrno } from '../../platform/errno.ts';
import { isWhiteout } from './lower-tree.ts';

/** What is known about a place in the tree. Dropping a node forgets all below it. */
export interface PathNode {
  readonly children: Map<string, PathNode>;
  /** This layer made it. */
  made: boolean;
  /** It is a real directory; false when not known. */
  isDirectory: boolean;
  /** Lower layers do not show through here. */
  isOpaque: boolean;
  times?: FileTimes;
}

export interface FileTimes {
  readonly accessedAt: Instant;
  readonly modifiedAt: Instant;
}

export interface Place {
  readonly node: PathNode;
  readonly path: string;
}

export const newDirectory = (): PathNode => ({
  children: new Map(),
  made: false,
  isDirectory: true,
  isOpaque: false,
});

/** Every file of the layer is this one: a layer of a million files must not cost a million objects. */
export const madeFile: PathNode = Object.freeze({
  children: new Map(),
  made: true,
  isDirectory: false,
  isOpaque: false,
});

/** The layer made this or something below it. */
export function hasMade(node: PathNode): boolean {
  if (node.made) return true;
  for (const child of node.children.values()) if (hasMade(child)) return true;
  return false;
}

export const removeTree = (path: string): void => rmSync(path, { recursive: true, force: true });

/** Whatever is there gives way; `make` must fail with EEXIST instead of reusing it. */
export function replacing<Result>(path: string, make: () => Result): Result {
  try {
    return make();
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
  }
  removeTree(path);
  return make();
}

/** A directory at `path`, private when it is new, and what was there before. */
export function makeDirectory(path: string): 'kept' | 'new' | 'whiteout' {
  try {
    mkdirSync(path, 0o700);
    return 'new';
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
  }
  const stats = lstatSync(path);
  if (stats.isDirectory()) return 'kept';
  removeTree(path);
  mkdirSync(path, 0o700);
  return isWhiteout(stats) ? 'whiteout' : 'new';
}
