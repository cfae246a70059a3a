/**
 * Bundles: the directory of each task, as runtimes and shims know it (OCI runtime spec, "Filesystem Bundle"), laid out
 * as containerd's: `<state>/<namespace>/<id>` with config.json, rootfs, and what a restarted daemon needs to find the
 * shim again; `work` beside it under the root, which lives until the task is deleted.
 *
 * A bundle without bootstrap.json belongs to a create that never came to its end. Whatever is still mounted below a
 * bundle is unmounted before anything is removed: the root filesystem there is the container's data.
 */
import { chmod, chown, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { hasCode } from '../../../base/errors.ts';
import {
  type ContainerId,
  type Namespace,
  parseContainerId,
  parseNamespace,
} from '../../../base/identifiers.ts';
import { parseShimState, type SavedContainer, shimStateFile } from '../../../oci/shim-state.ts';
import { fromNodeError } from '../../../platform/errno.ts';
import type { MountOperations } from '../../../platform/platform.ts';
import { replaceFile } from '../../../platform/replace-file.ts';
import type { ShimAddress } from '../shims/shim-address.ts';

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

export class BundleStore {
  readonly #mounts: Pick<MountOperations, 'unmountAll'>;
  readonly #root: string;
  readonly #state: string;

  /** Both are directories of the plugin's own; identifiers make safe names below them. */
  constructor(
    { mounts }: { readonly mounts: Pick<MountOperations, 'unmountAll'> },
    { root, state }: { readonly root: string; readonly state: string },
  ) {
    this.#mounts = mounts;
    this.#root = root;
    this.#state = state;
  }

  find(namespace: Namespace, id: ContainerId): Bundle {
    return { namespace, id, path: path.join(this.#state, namespace, id) };
  }

  /** Errors: AlreadyExists when the directory is there. Nothing is left on failure. */
  async create(
    namespace: Namespace,
    id: ContainerId,
    spec: Uint8Array,
    runtime: RuntimeRecord,
  ): Promise<Bundle> {
    const bundle = this.find(namespace, id);
    const work = this.#workOf(bundle);
    await mkdir(path.dirname(bundle.path), { recursive: true, mode: 0o711 });
    await mkdir(bundle.path, { mode: 0o700 }).catch((error: unknown) => {
      throw fromNodeError(error);
    });
    await using undo = new AsyncDisposableStack();
    undo.defer(() => this.remove(bundle));
    await rm(work, { recursive: true, force: true });
    await mkdir(work, { recursive: true, mode: 0o711 });
    await symlink(work, path.join(bundle.path, 'work'));
    await mkdir(path.join(bundle.path, 'rootfs'), { mode: 0o711 });
    await chmod(path.join(bundle.path, 'rootfs'), 0o711);
    await writeFile(path.join(bundle.path, 'config.json'), spec, { mode: 0o600 });
    const group = rootGroupOf(spec);
    if (group !== undefined) {
      // Root of the container's user namespace has to reach its root filesystem.
      await chown(bundle.path, 0, group);
      await chmod(bundle.path, 0o710);
    }
    if (runtime.shimPath !== '')
      await writeFile(path.join(bundle.path, 'shim-binary-path'), runtime.shimPath, { mode: 0o600 });
    undo.move();
    return bundle;
  }

  /** Replaces the file as one step: a restart finds the whole address or none. */
  async saveAddress({ path: directory }: Bundle, address: ShimAddress): Promise<void> {
    replaceFile(path.join(directory, 'bootstrap.json'), JSON.stringify(address), { mode: 0o600 });
  }

  async address({ path: directory }: Bundle): Promise<ShimAddress | undefined> {
    const text = await readIfThere(path.join(directory, 'bootstrap.json'));
    if (text !== undefined) return JSON.parse(text) as ShimAddress;
    // Of a shim that containerd 1.6 or earlier started here.
    const address = await readIfThere(path.join(directory, 'address'));
    return address === undefined ? undefined : { version: 2, address: address.trim(), protocol: 'ttrpc' };
  }

  async runtime({ path: directory }: Bundle): Promise<RuntimeRecord> {
    return { shimPath: (await readIfThere(path.join(directory, 'shim-binary-path'))) ?? '' };
  }

  /** What a shim of this house noted of the container; undefined when it noted nothing, or is another. */
  async shimState({ path: directory }: Bundle): Promise<SavedContainer | undefined> {
    const text = await readIfThere(path.join(directory, shimStateFile));
    return text === undefined ? undefined : parseShimState(text);
  }

  /** Takes the bundle and its work directory away, and what is mounted there before. */
  async remove(bundle: Bundle): Promise<void> {
    // Renamed first: a crash leaves nothing that looks like a task.
    const doomed = path.join(path.dirname(bundle.path), `.${bundle.id}.removed`);
    await this.#removeTree(doomed);
    this.#mounts.unmountAll(bundle.path, { lazy: true });
    try {
      await rename(bundle.path, doomed);
    } catch (error) {
      if (!hasCode(fromNodeError(error), 'NotFound')) throw fromNodeError(error);
    }
    await this.#removeTree(doomed);
    await rm(this.#workOf(bundle), { recursive: true, force: true });
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

  /** Links in it are not followed. */
  async #removeTree(directory: string): Promise<void> {
    this.#mounts.unmountAll(directory, { lazy: true });
    await rm(directory, { recursive: true, force: true });
  }

  #workOf({ namespace, id }: Pick<Bundle, 'namespace' | 'id'>): string {
    return path.join(this.#root, namespace, id);
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
