/**
 * What a shim holds, as the next one finds it: `<directory>/<namespace>/<id>`, a link to the bundle. Made before
 * anything is done for a create; removed when nothing of the container is left to do or to tell.
 *
 * One shim at a time holds the directory: a lock keeps the next out until the kernel has ended the last.
 */
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { failedPrecondition } from '../base/errors.ts';
import { isErrno } from '../platform/errno.ts';
import type { Platform } from '../platform/platform.ts';

export interface Held {
  readonly namespace: string;
  readonly id: string;
  readonly bundle: string;
}

/** What a killed shim may take to be gone. */
const lockMs = 1_500;
const lockRetryMs = 10;
const lockName = '.lock';

export class HeldDirectory implements Disposable {
  readonly path: string;
  readonly #lock: Disposable;
  /** The present owner of each name, so that a late farewell does not take a successor's link. */
  readonly #owners = new Map<string, object>();
  readonly #namespaces = new Set<string>();

  private constructor(path: string, lock: Disposable) {
    this.path = path;
    this.#lock = lock;
  }

  /** Makes it if need be. Errors: FailedPrecondition when another shim has it. */
  static async open({ files }: Pick<Platform, 'files'>, path: string): Promise<HeldDirectory> {
    const file = join(path, lockName);
    const deadline = performance.now() + lockMs;
    for (;;) {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      const lock = files.tryLock(file);
      if (lock !== undefined && existsSync(file)) return new HeldDirectory(path, lock);
      // The last shim took the directory away in between.
      lock?.[Symbol.dispose]();
      if (performance.now() > deadline)
        throw failedPrecondition(`another shim holds ${path}; end it before this one takes over`);
      await after(lockRetryMs);
    }
  }

  /** Everything that a shim before us held. Names that hold no link are none of ours. */
  list(): Held[] {
    return linksIn(this.path);
  }

  /** `owner` is who lets go of it later. Replaces a link that is there. */
  hold({ namespace, id, bundle }: Held, owner: object): void {
    const link = join(this.path, namespace, id);
    if (!this.#namespaces.has(namespace)) {
      mkdirSync(join(this.path, namespace), { recursive: true, mode: 0o700 });
      this.#namespaces.add(namespace);
    }
    this.#owners.set(`${namespace}/${id}`, owner);
    try {
      symlinkSync(bundle, link);
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
      rmSync(link, { force: true });
      symlinkSync(bundle, link);
    }
  }

  /** Does nothing when somebody else owns the name by now. */
  letGo({ namespace, id }: Omit<Held, 'bundle'>, owner: object): void {
    const key = `${namespace}/${id}`;
    if (this.#owners.get(key) !== owner) return;
    this.#owners.delete(key);
    rmSync(join(this.path, namespace, id), { force: true });
  }

  /** Lets the next shim in, whose links are its own; takes the directory away when nothing is held. */
  [Symbol.dispose](): void {
    this.#owners.clear();
    if (this.list().length === 0) rmSync(this.path, { recursive: true, force: true });
    this.#lock[Symbol.dispose]();
  }
}

/** Takes a link away for a shim that is gone, and the directory when it was the last. */
export function forgetHeld(
  { files }: Pick<Platform, 'files'>,
  path: string,
  held: Omit<Held, 'bundle'>,
): void {
  if (!existsSync(path)) return;
  rmSync(join(path, held.namespace, held.id), { force: true });
  using lock = files.tryLock(join(path, lockName));
  if (lock !== undefined && linksIn(path).length === 0) rmSync(path, { recursive: true, force: true });
}

function linksIn(path: string): Held[] {
  return directories(path).flatMap((namespace) =>
    readdirSync(join(path, namespace), { withFileTypes: true })
      .filter((entry) => entry.isSymbolicLink())
      .map(({ name: id }) => ({ namespace, id, bundle: readlinkSync(join(path, namespace, id)) })),
  );
}

const directories = (path: string): string[] =>
  readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
