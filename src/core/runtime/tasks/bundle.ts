/**
 * Bundles: the directory of each task, as runtimes and shims know it (OCI runtime spec, "Filesystem Bundle"), laid out
 * as containerd's: `<state>/<namespace>/<id>` with config.json, rootfs, and what a restarted daemon needs to find the
 * shim again; `work` beside it under the root, which lives until the task is deleted.
 *
 * A bundle without bootstrap.json belongs to a create that never came to its end. Whatever is still mounted below a
 * bundle is unmounted before anything is removed: the root filesystem there is the container's data.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { hasCode } from '../../../base/errors.ts';
import {
  type ContainerId,
  type Namespace,
  parseContainerId,
  parseNamespace,
} from '../../../base/identifiers.ts';
import type { Logger } from '../../../base/logger.ts';
import { parseShimState, type SavedContainer, shimStateFile } from '../../../oci/shim-state.ts';
import { withNodeErrors } from '../../../platform/errno.ts';
import type { MountOperations } from '../../../platform/platform.ts';
import { replaceFile } from '../../../platform/replace-file.ts';
import { parseShimAnswer, type ShimAddress } from '../shims/shim-address.ts';

export interface Bundle {
  readonly namespace: Namespace;
  readonly id: ContainerId;
  readonly path: string;
}

/** How the task's runtime was found, kept for the clean-up after a dead shim. */
export interface RuntimeRecord {
  /** Absolute path of the shim; "" for the built-in one. */
  readonly shimPath: string;
}

export interface BundleStoreDependencies {
  readonly mounts: Pick<MountOperations, 'unmountAll'>;
  readonly log: Logger;
}

export class BundleStore implements AsyncDisposable {
  readonly #dependencies: BundleStoreDependencies;
  readonly #root: string;
  readonly #state: string;
  /** Trees that are named as removed already. */
  readonly #removals = new Set<Promise<void>>();

  /** Both are directories of the plugin's own; identifiers make safe names below them. */
  constructor(
    dependencies: BundleStoreDependencies,
    { root, state }: { readonly root: string; readonly state: string },
  ) {
    this.#dependencies = dependencies;
    this.#root = root;
    this.#state = state;
  }

  find(namespace: Namespace, id: ContainerId): Bundle {
    return { namespace, id, path: path.join(this.#state, namespace, id) };
  }

  /**
   * Nothing is left on failure. Errors: AlreadyExists when the directory is there; the file system's.
   *
   * Ten calls of a few microseconds each, so each a synchronous one: a hop to another thread costs more.
   */
  create(namespace: Namespace, id: ContainerId, spec: Uint8Array, runtime: RuntimeRecord): Bundle {
    const bundle = this.find(namespace, id);
    return withNodeErrors(() => {
      mkdirSync(path.dirname(bundle.path), { recursive: true, mode: 0o711 });
      mkdirSync(bundle.path, { mode: 0o700 });
      try {
        this.#fill(bundle, spec, runtime);
      } catch (error) {
        this.remove(bundle);
        throw error;
      }
      return bundle;
    });
  }

  /** Replaces the file as one step: a restart finds the whole address or none. Errors: the file system's. */
  saveAddress({ path: directory }: Bundle, address: ShimAddress): void {
    replaceFile(path.join(directory, 'bootstrap.json'), JSON.stringify(address), { mode: 0o600 });
  }

  /** Undefined when none was saved. Errors: Unknown, Unimplemented when what is there is no address. */
  async address({ path: directory }: Bundle): Promise<ShimAddress | undefined> {
    const saved = await readIfThere(path.join(directory, 'bootstrap.json'));
    // Of a shim that containerd 1.6 or earlier started here.
    const answer = saved ?? (await readIfThere(path.join(directory, 'address')));
    return answer === undefined ? undefined : parseShimAnswer(Buffer.from(answer));
  }

  async runtime({ path: directory }: Bundle): Promise<RuntimeRecord> {
    return { shimPath: (await readIfThere(path.join(directory, 'shim-binary-path'))) ?? '' };
  }

  /** What a shim of this house noted of the container; undefined when it noted nothing, or is another. */
  async shimState({ path: directory }: Bundle): Promise<SavedContainer | undefined> {
    const text = await readIfThere(path.join(directory, shimStateFile));
    return text === undefined ? undefined : parseShimState(text);
  }

  /**
   * Takes the bundle and its work directory away, and what is mounted there before. When it returns both have names that
   * nobody takes for a task, also after a crash; what is in them goes by and by, and a failure of that is logged. Not an
   * error when there is none. Errors: FailedPrecondition (busy), the file system's.
   */
  remove(bundle: Bundle): void {
    this.#dependencies.mounts.unmountAll(bundle.path, { lazy: true });
    const doomed = [bundle.path, this.#workOf(bundle)].flatMap((directory) => {
      const renamed = path.join(path.dirname(directory), `.${bundle.id}.${randomUUID()}.removed`);
      return renameIfThere(directory, renamed) ? [renamed] : [];
    });
    const removal = Promise.all(doomed.map((directory) => this.#removeTree(directory)))
      .catch((error: unknown) => {
        const { log } = this.#dependencies;
        log.warn({ error, doomed }, 'what was a bundle could not be removed; the next start tries again');
      })
      .then(() => {
        this.#removals.delete(removal);
      });
    this.#removals.add(removal);
  }

  /** Every bundle there is. What a crash left half-removed, and work directories without a bundle, go on the way. */
  async list(): Promise<Bundle[]> {
    const bundles: Bundle[] = [];
    for (const [namespaceName, idName, directory] of await entriesBelow(this.#state)) {
      const bundle = parse(namespaceName, idName);
      if (bundle === undefined) await this.#removeTree(directory);
      else bundles.push({ ...bundle, path: directory });
    }
    const known = new Set(bundles.map((bundle) => this.#workOf(bundle)));
    for (const [, , directory] of await entriesBelow(this.#root))
      if (!known.has(directory)) await rm(directory, { recursive: true, force: true });
    return bundles;
  }

  /** Resolves when what was removed has gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#removals);
  }

  #fill(bundle: Bundle, spec: Uint8Array, runtime: RuntimeRecord): void {
    const work = this.#workOf(bundle);
    const rootfs = path.join(bundle.path, 'rootfs');
    // A crash may have left it.
    rmSync(work, { recursive: true, force: true });
    mkdirSync(work, { recursive: true, mode: 0o711 });
    symlinkSync(work, path.join(bundle.path, 'work'));
    mkdirSync(rootfs, { mode: 0o711 });
    chmodSync(rootfs, 0o711);
    writeFileSync(path.join(bundle.path, 'config.json'), spec, { mode: 0o600 });
    const group = rootGroupOf(spec);
    if (group !== undefined) {
      // Root of the container's user namespace has to reach its root filesystem.
      chownSync(bundle.path, 0, group);
      chmodSync(bundle.path, 0o710);
    }
    if (runtime.shimPath !== '')
      writeFileSync(path.join(bundle.path, 'shim-binary-path'), runtime.shimPath, { mode: 0o600 });
  }

  /** Links in it are not followed. What was mounted there meanwhile is a container's data, and is let go of first. */
  async #removeTree(directory: string): Promise<void> {
    this.#dependencies.mounts.unmountAll(directory, { lazy: true });
    await rm(directory, { recursive: true, force: true });
  }

  #workOf({ namespace, id }: Pick<Bundle, 'namespace' | 'id'>): string {
    return path.join(this.#root, namespace, id);
  }
}

function renameIfThere(from: string, to: string): boolean {
  try {
    withNodeErrors(() => renameSync(from, to));
    return true;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return false;
    throw error;
  }
}

/** The host's group for root of the container's user namespace; undefined when it is root's own, or there is none. */
function rootGroupOf(spec: Uint8Array): number | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder().decode(spec));
  } catch {
    // The runtime says what is wrong with it.
    return undefined;
  }
  const mappings = (parsed as { linux?: { gidMappings?: unknown } } | null)?.linux?.gidMappings;
  if (!Array.isArray(mappings)) return undefined;
  const root = (mappings as { containerID?: unknown; hostID?: unknown }[]).find(
    ({ containerID }) => containerID === 0,
  );
  const group = root?.hostID;
  return typeof group === 'number' && Number.isSafeInteger(group) && group > 0 ? group : undefined;
}

function parse(namespace: string, id: string): Omit<Bundle, 'path'> | undefined {
  try {
    return { namespace: parseNamespace(namespace), id: parseContainerId(id) };
  } catch {
    return undefined;
  }
}

async function entriesBelow(root: string): Promise<[namespace: string, id: string, directory: string][]> {
  const found: [string, string, string][] = [];
  for (const namespace of await directoriesIn(root))
    for (const id of await directoriesIn(path.join(root, namespace)))
      found.push([namespace, id, path.join(root, namespace, id)]);
  return found;
}

async function directoriesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

const readIfThere = (file: string): Promise<string | undefined> =>
  readFile(file, 'utf8').catch(() => undefined);
