/** Who needs what: the images and containers that a missing blob or snapshot breaks, for the words of a finding. */
import type { Context } from '../../base/context.ts';
import { withNamespace } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import type { Namespace, SnapshotKey } from '../../base/identifiers.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Container } from '../containers/container-store.ts';
import { type SnapshotRow, snapshotRows } from '../metadata/check-rows.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import { type ImageTree, readImageTree } from './image-tree.ts';

export interface NamespacedImage {
  readonly namespace: Namespace;
  readonly tree: ImageTree;
}

export interface NamespacedContainer {
  readonly namespace: Namespace;
  readonly container: Container;
}

const keyOf = (...parts: readonly string[]): string => parts.join('\0');

export class Users {
  readonly images: readonly NamespacedImage[];
  readonly containers: readonly NamespacedContainer[];
  readonly namespaces: readonly Namespace[];
  readonly #byBlob = new Map<string, NamespacedImage[]>();
  readonly #byChain = new Map<string, NamespacedImage[]>();
  readonly #children = new Map<string, SnapshotRow[]>();
  readonly #bySnapshot = new Map<string, NamespacedContainer[]>();

  static async read(store: MetadataStore, ctx: Context): Promise<Users> {
    const rows = store.database.read(snapshotRows);
    const committed = new Set(
      rows.filter(({ kind }) => kind === 'committed').map(({ namespace, key }) => keyOf(namespace, key)),
    );
    const deps = {
      content: store.content,
      hasSnapshot: ({ namespace }: { namespace: Namespace }, chainId: Digest) =>
        committed.has(keyOf(namespace, chainId)),
    };
    const namespaces = (await store.namespaces.list(ctx)).map(({ name }) => name);
    const images: NamespacedImage[] = [];
    const containers: NamespacedContainer[] = [];
    for (const namespace of namespaces) {
      const within = withNamespace(ctx, namespace);
      for (const image of await store.images.list(within, []))
        images.push({ namespace, tree: await readImageTree(deps, within, image) });
      for (const container of await store.containers.list(within, []))
        containers.push({ namespace, container });
    }
    return new Users(rows, { namespaces, images, containers });
  }

  private constructor(
    rows: readonly SnapshotRow[],
    found: Pick<Users, 'namespaces' | 'images' | 'containers'>,
  ) {
    this.namespaces = found.namespaces;
    this.images = found.images;
    this.containers = found.containers;
    for (const image of this.images) {
      const { namespace, tree } = image;
      for (const digest of tree.blobs.keys()) push(this.#byBlob, keyOf(namespace, digest), image);
      for (const chainId of tree.chainIds) push(this.#byChain, keyOf(namespace, chainId), image);
    }
    for (const row of rows)
      if (row.parent !== undefined)
        push(this.#children, keyOf(row.namespace, row.snapshotter, row.parent), row);
    for (const user of this.containers) {
      const { snapshotter, snapshotKey } = user.container;
      if (snapshotter !== '') push(this.#bySnapshot, keyOf(user.namespace, snapshotter, snapshotKey), user);
    }
  }

  imagesOf(namespace: Namespace, digest: Digest): readonly NamespacedImage[] {
    return this.#byBlob.get(keyOf(namespace, digest)) ?? [];
  }

  /** What an image says the blob is; undefined when no image has it. */
  descriptorOf(namespace: Namespace, digest: Digest): Descriptor | undefined {
    return this.imagesOf(namespace, digest)[0]?.tree.blobs.get(digest);
  }

  /** The snapshot and everything that stands on it, parents first. */
  descendants(row: SnapshotRow): SnapshotRow[] {
    const found = [row];
    const seen = new Set<SnapshotKey>([row.key]);
    for (const each of found)
      for (const child of this.#children.get(keyOf(each.namespace, each.snapshotter, each.key)) ?? []) {
        if (seen.has(child.key)) continue;
        seen.add(child.key);
        found.push(child);
      }
    return found;
  }

  /** The images unpacked into these snapshots, and the containers on them. */
  brokenBy(rows: readonly SnapshotRow[]): string[] {
    const words = new Set<string>();
    for (const { namespace, snapshotter, key } of rows) {
      for (const image of this.#byChain.get(keyOf(namespace, key)) ?? []) words.add(imageWords(image));
      for (const user of this.#bySnapshot.get(keyOf(namespace, snapshotter, key)) ?? [])
        words.add(containerWords(user));
    }
    return [...words];
  }
}

export const imageWords = ({ namespace, tree }: NamespacedImage): string =>
  `image ${tree.image.name} (namespace ${namespace})`;

export const containerWords = ({ namespace, container }: NamespacedContainer): string =>
  `container ${container.id} (namespace ${namespace})`;

function push<Value>(map: Map<string, Value[]>, key: string, value: Value): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}
