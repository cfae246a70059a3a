/** What names point at: images at content, containers at snapshots, leases at whatever they hold. */
import { type Context, type NamespacedContext, withNamespace } from '../../base/context.ts';
import { parseDigest } from '../../base/digest.ts';
import { ContainerdError, failedPrecondition, hasCode } from '../../base/errors.ts';
import { type Namespace, parseImageName, parseIngestRef, parseSnapshotKey } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { parseManifestOrIndex } from '../../oci/manifest.ts';
import { childLabels } from '../../oci/media-types.ts';
import type { Lease, LeaseResource } from '../leases/lease-manager.ts';
import { ingestRows } from '../metadata/check-rows.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import { checkDocumentSize, childrenOf, hasChildren } from '../transfer/image-content.ts';
import type { ContentRepair } from './content-repair.ts';
import type { Problem } from './finding.ts';
import type { Hole } from './image-tree.ts';
import type { Tally } from './tally.ts';
import { containerWords, imageWords, type NamespacedImage, type Users } from './users.ts';

export interface ReferenceCheckDependencies {
  readonly store: MetadataStore;
  /** Read after content was mended. */
  readonly users: Users;
  readonly repair: ContentRepair;
  readonly tally: Tally;
}

export class ReferenceCheck {
  readonly #deps: ReferenceCheckDependencies;

  constructor(dependencies: ReferenceCheckDependencies) {
    this.#deps = dependencies;
  }

  *images(): Generator<Problem> {
    const { users, tally } = this.#deps;
    tally.images = users.images.length;
    for (const image of users.images) for (const hole of image.tree.holes) yield this.#hole(image, hole);
  }

  async *containers(ctx: Context): AsyncGenerator<Problem> {
    const { users, tally, store } = this.#deps;
    tally.containers = users.containers.length;
    for (const user of users.containers) {
      const { namespace, container } = user;
      const { snapshotter, snapshotKey } = container;
      if (snapshotter === '' || snapshotKey === '' || !store.snapshotterNames().includes(snapshotter))
        continue;
      const within = withNamespace(ctx, namespace);
      const key = parseSnapshotKey(snapshotKey);
      if (await isThere(store.snapshotter(snapshotter).stat(within, key))) continue;
      // Gone in between?
      if (!(await isThere(store.containers.get(within, container.id)))) continue;
      yield {
        finding: {
          kind: 'container-broken',
          severity: 'damage',
          namespace,
          what: `container ${container.id}`,
          where: 'containers table',
          problem: `its snapshot ${snapshotKey} of ${snapshotter} does not exist`,
          breaks: [containerWords(user)],
          remedy: `left as it is: it cannot be started again; remove it (gantry -n ${namespace} rm ${container.id}) and make it anew`,
        },
      };
    }
  }

  async *leases(ctx: Context): AsyncGenerator<Problem> {
    const { users, store, tally } = this.#deps;
    for (const namespace of users.namespaces) {
      const within = withNamespace(ctx, namespace);
      for (const lease of await store.leases.list(within, [])) {
        tally.leases += 1;
        const resources = await store.leases.listResources(within, lease.id).catch(absent);
        for (const resource of resources ?? [])
          if (!(await this.#exists(ctx, namespace, resource)))
            yield this.#dangling(namespace, lease, resource);
      }
    }
  }

  #hole(image: NamespacedImage, { descriptor, role }: Hole): Problem {
    const { repair, store } = this.#deps;
    const { namespace, tree } = image;
    const { digest } = descriptor;
    const wanted = {
      digest,
      descriptor,
      sizeBytes: descriptor.sizeBytes,
      labels: [],
      imageNames: [tree.image.name],
    };
    const sources = repair.sourcesOf(wanted);
    const mend = async (ctx: Context): Promise<string> => {
      const { source } = await repair.fetch(ctx, wanted);
      await record(store, withNamespace(ctx, namespace), descriptor);
      return `fetched from ${source}`;
    };
    return {
      finding: {
        kind: 'image-broken',
        severity: 'damage',
        namespace,
        what: `image ${tree.image.name}`,
        where: digest,
        problem: `${role}, ${digest}, is not in the namespace`,
        breaks: [imageWords(image)],
        remedy:
          sources.length === 0
            ? 'left as it is: its name is no reference of a registry; load or build it again, or remove it'
            : `it is fetched again from ${sources.join(' or ')}; if none gives it, pull or remove the image`,
      },
      ...(sources.length > 0 && { repair: mend }),
    };
  }

  #dangling(namespace: Namespace, lease: Lease, resource: LeaseResource): Problem {
    const { store } = this.#deps;
    // A client may name what it is about to make.
    const isOld = now() - lease.createdAt > BigInt(limits.transferLeaseMs) * 1_000_000n;
    return {
      finding: {
        kind: 'lease-dangling',
        severity: isOld ? 'leftover' : 'notice',
        namespace,
        what: `lease ${lease.id}`,
        where: 'lease_resources table',
        problem: `it holds ${resource.type} ${resource.id}, which does not exist`,
        breaks: [],
        remedy: isOld
          ? 'the entry is taken out of the lease'
          : 'left as it is: a client may be about to make it, and the entry goes with the lease',
      },
      ...(isOld && {
        repair: async (ctx: Context) => {
          const within = withNamespace(ctx, namespace);
          if (await this.#exists(ctx, namespace, resource)) throw failedPrecondition('it exists by now');
          await store.leases.deleteResource(within, lease.id, resource);
          return 'taken out of the lease';
        },
      }),
    };
  }

  async #exists(ctx: Context, namespace: Namespace, { type, id }: LeaseResource): Promise<boolean> {
    const { store } = this.#deps;
    const within = withNamespace(ctx, namespace);
    if (type === 'content') return isThere(store.content.info(within, parseDigest(id)));
    if (type === 'images') return isThere(store.images.get(within, parseImageName(id)));
    // A row is enough: the next writer makes the rest.
    if (type === 'ingests')
      return store.database.read(ingestRows).some((row) => row.namespace === namespace && row.ref === id);
    const snapshotter = type.slice('snapshots/'.length);
    if (!store.snapshotterNames().includes(snapshotter)) return true;
    return isThere(store.snapshotter(snapshotter).stat(within, parseSnapshotKey(id)));
  }
}

/** Gives a namespace the blob that is in place, with the labels that keep its children as a pull sets them. */
async function record(store: MetadataStore, ctx: NamespacedContext, descriptor: Descriptor): Promise<void> {
  const { digest } = descriptor;
  const ref = parseIngestRef(`check/${digest}`);
  await using reader = await store.contentStore.open(digest);
  await using writer = await store.content.writer(ctx, { ref });
  await writer.truncate(0);
  for await (const chunk of reader.stream({ signal: ctx.signal })) await writer.write(chunk);
  await writer.commit(ctx, { expected: digest, labels: await labelsOf(store, descriptor) });
}

async function labelsOf({ contentStore }: MetadataStore, descriptor: Descriptor): Promise<Labels> {
  if (!hasChildren(descriptor)) return {};
  checkDocumentSize(descriptor);
  await using reader = await contentStore.open(descriptor.digest);
  const bytes = Buffer.alloc(reader.sizeBytes);
  await reader.readAt(bytes, 0);
  return childLabels(childrenOf(parseManifestOrIndex(bytes, descriptor)));
}

function absent(error: unknown): undefined {
  if (!hasCode(error, 'NotFound')) throw ContainerdError.from(error);
}

async function isThere(asking: Promise<unknown>): Promise<boolean> {
  return (await asking.then(() => true).catch(absent)) === true;
}
