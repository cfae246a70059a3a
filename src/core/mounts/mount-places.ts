/**
 * Directories of activations, `<root>/<number>/<index>`, and taking away what is mounted in them: by what is there and
 * not by what is remembered, so that it works after any crash.
 */
import { lstatSync, mkdirSync, readdirSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { withNodeErrors } from '../../platform/errno.ts';
import type { LoopOperations, MountOperations } from '../../platform/platform.ts';
import { tagOf } from './mount-handlers.ts';

export interface MountPlacesDependencies {
  readonly mounts: MountOperations;
  readonly loops: LoopOperations;
}

export class MountPlaces {
  readonly #dependencies: MountPlacesDependencies;
  readonly #root: string;

  /** Makes `root`, which nobody else uses. */
  constructor(dependencies: MountPlacesDependencies, { root }: { root: string }) {
    this.#dependencies = dependencies;
    this.#root = root;
    withNodeErrors(() => mkdirSync(root, { recursive: true, mode: 0o700 }));
  }

  /** Of the mount with that index; its directory is made. */
  make(number: number, index: number): string {
    const folder = this.#folder(number);
    withNodeErrors(() => mkdirSync(folder, { recursive: true, mode: 0o700 }));
    return join(folder, String(index));
  }

  numbers(): number[] {
    return withNodeErrors(() => readdirSync(this.#root))
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  }

  /** Whether what was mounted there is there still. */
  isMounted(place: string): boolean {
    const status = lstatSync(place, { throwIfNoEntry: false });
    if (status === undefined) return false;
    if (status.isSymbolicLink())
      return this.#dependencies.loops.isAttached(readlinkSync(place), tagOf(place));
    return this.#dependencies.mounts.list().some(({ mountPoint }) => mountPoint === place);
  }

  /** The last mount first. Not an error when nothing is there. Errors: FailedPrecondition (busy). */
  remove(number: number): void {
    const folder = this.#folder(number);
    if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) return;
    const entries = withNodeErrors(() => readdirSync(folder)).toSorted((a, b) => Number(b) - Number(a));
    for (const entry of entries) this.#removePlace(join(folder, entry));
    withNodeErrors(() => rmdirSync(folder));
  }

  #removePlace(place: string): void {
    const { mounts, loops } = this.#dependencies;
    const status = lstatSync(place, { throwIfNoEntry: false });
    if (status === undefined) return;
    if (status.isSymbolicLink()) {
      loops.detach(readlinkSync(place), tagOf(place));
      withNodeErrors(() => unlinkSync(place));
      return;
    }
    mounts.unmountAll(place);
    // Never recursively: what is left mounted would be emptied.
    withNodeErrors(() => rmdirSync(place));
  }

  #folder(number: number): string {
    return join(this.#root, String(number));
  }
}
