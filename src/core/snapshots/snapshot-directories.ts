/**
 * The directories of a snapshotter back end, `<root>/snapshots/<id>`.
 *
 * They are filled under a passing name and get their own inside the transaction that makes the record, so that a
 * record always has its directory. They are given up by a rename and deleted afterwards. What has no record is a
 * leftover of a crash or of a removal, and `sweep` deletes it.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, lchownSync, lstatSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../base/logger.ts';
import { isErrno, withNodeErrors } from '../../platform/errno.ts';
import type { FileOperations } from '../../platform/platform.ts';
import { syncDirectory } from '../../platform/sync-directory.ts';

export class SnapshotDirectories {
  readonly path: string;
  readonly #log: Logger;
  /** Directories that are being filled: a sweep leaves them alone. */
  readonly #staged = new Set<string>();

  /** `root` is made when absent, mode 0700: others must not reach setuid files of images by it. */
  constructor({ log, files }: { log: Logger; files: Pick<FileOperations, 'spreadChildren'> }, root: string) {
    this.#log = log;
    this.path = join(root, 'snapshots');
    withNodeErrors(() => mkdirSync(this.path, { recursive: true, mode: 0o700 }));
    // On ext4 a layer in the place of one that was just removed is made at a tenth of the speed (docs/decisions/0110).
    files.spreadChildren(this.path);
    syncDirectory(root);
  }

  of(id: number): string {
    return join(this.path, String(id));
  }

  /** A fresh directory; dispose it in any case: what was not adopted is given up. */
  stage(mode: number): StagedDirectory {
    const name = `new-${randomUUID()}`;
    const path = join(this.path, name);
    this.#staged.add(name);
    withNodeErrors(() => mkdirSync(path, { mode }));
    let isAdopted = false;
    return {
      path,
      adopt: (id) => {
        // An id comes again when its transaction was undone: then a leftover may bear it.
        this.#moveAway(String(id));
        withNodeErrors(() => renameSync(path, this.of(id)));
        isAdopted = true;
      },
      [Symbol.dispose]: () => {
        if (!isAdopted) this.#moveAway(name);
        this.#staged.delete(name);
      },
    };
  }

  /** Out of the way in one step; the bytes go with the next sweep. Not an error when it is not there. */
  discard(id: number): void {
    this.#moveAway(String(id));
  }

  /** Names of `parts` (`.` for the directory itself) that are no directories of the snapshot. */
  missing(id: number, parts: readonly string[]): string[] {
    return parts.filter((part) => !isDirectory(join(this.of(id), part)));
  }

  /** Puts a part that was staged in the place of one that is missing; of the directory itself, all of it. */
  restore(id: number, part: string, staged: StagedDirectory): void {
    if (part === '.') staged.adopt(id);
    else withNodeErrors(() => renameSync(join(staged.path, part), join(this.of(id), part)));
  }

  /** Paths of everything that belongs to no snapshot of `ids` and is not being filled. */
  leftovers(ids: ReadonlySet<number>): string[] {
    return readdirSync(this.path)
      .filter((name) => !this.#staged.has(name) && !(/^[0-9]+$/.test(name) && ids.has(Number(name))))
      .map((name) => join(this.path, name));
  }

  #moveAway(name: string): void {
    try {
      renameSync(join(this.path, name), join(this.path, `rm-${randomUUID()}`));
    } catch (error) {
      if (!isErrno(error, 'ENOENT'))
        this.#log.warn({ name, error: String(error) }, 'cannot give up a snapshot directory');
    }
  }

  /** Deletes every directory that is not of `ids`. One that cannot be deleted is logged and left for later. */
  async sweep(ids: () => ReadonlySet<number>): Promise<void> {
    // Looked at and renamed in one turn: whatever gets a record afterwards is not touched.
    const used = ids();
    for (const name of readdirSync(this.path))
      if (/^[0-9]+$/.test(name) && !used.has(Number(name))) this.#moveAway(name);
    for (const name of readdirSync(this.path)) {
      if (/^[0-9]+$/.test(name) || this.#staged.has(name)) continue;
      try {
        await rm(join(this.path, name), { recursive: true, force: true });
      } catch (error) {
        this.#log.warn({ name, error: String(error) }, 'cannot delete a removed snapshot');
      }
    }
  }
}

export interface StagedDirectory extends Disposable {
  readonly path: string;
  /** Gives it its name for ever; called inside the transaction that makes the record. */
  adopt(id: number): void;
}

const isDirectory = (path: string): boolean => existsSync(path) && lstatSync(path).isDirectory();

/** A fresh top directory looks like the one it covers, so that a container's `/` keeps its mode and owner. */
export function takeAfter(path: string, parent: string | undefined): void {
  withNodeErrors(() => {
    if (parent === undefined) {
      chmodSync(path, 0o755);
      return;
    }
    const stats = lstatSync(parent);
    if (process.geteuid?.() === 0) lchownSync(path, stats.uid, stats.gid);
    chmodSync(path, stats.mode & 0o7777);
  });
}
