/**
 * The metadata store: every namespaced noun over one database, one blob store and the snapshotters' back ends.
 *
 *   database ─┬─ namespaces, images, containers, sandboxes, leases      records only
 *             ├─ content    ── BlobStore                                bytes
 *             └─ snapshotter(name) ── Snapshotter                       directories
 *
 * The collector (core/gc) is made from the store and then given to it, because deletes with `sync` wait for a run.
 */
import { invalidArgument } from '../../base/errors.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { BlobStore } from '../content/blob-store.ts';
import type { EventPublisher } from '../events/event-exchange.ts';
import type { Collectible } from '../gc/collectible.ts';
import type { GarbageCollector } from '../gc/garbage-collector.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import { MetadataContainerStore } from './containers.ts';
import { type ContentSharing, MetadataContentStore } from './content.ts';
import type { Database } from './database.ts';
import { MetadataImageStore } from './images.ts';
import { MetadataLeaseManager } from './leases.ts';
import { MetadataNamespaceStore } from './namespaces.ts';
import { MetadataSandboxStore } from './sandboxes.ts';
import { Sequence } from './sequence.ts';
import { MetadataSnapshotter } from './snapshots.ts';
import { Changes } from './store-base.ts';

export interface MetadataDependencies {
  /** Made with `metadataMigrations`; owned by the caller. */
  readonly database: Database;
  readonly contentStore: BlobStore;
  /** Back ends by the name that clients ask for. */
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly events: EventPublisher;
}

export class MetadataStore {
  readonly namespaces: MetadataNamespaceStore;
  readonly images: MetadataImageStore;
  readonly containers: MetadataContainerStore;
  readonly sandboxes: MetadataSandboxStore;
  readonly leases: MetadataLeaseManager;
  readonly content: MetadataContentStore;
  /** For the collector: what it works on. */
  readonly database: Database;
  readonly contentStore: BlobStore;
  readonly blobGate = new KeyedLock();
  readonly changes = new Changes();
  readonly events: EventPublisher;
  /** Of those who keep other objects that collection takes; they add themselves. */
  readonly collectibles: Collectible[] = [];
  readonly #snapshotters: ReadonlyMap<string, MetadataSnapshotter>;

  constructor(
    { database, contentStore, snapshotters, events }: MetadataDependencies,
    { contentSharing }: { contentSharing: ContentSharing },
  ) {
    this.database = database;
    this.contentStore = contentStore;
    this.events = events;
    const dependencies = { database, events, changes: this.changes };
    this.namespaces = new MetadataNamespaceStore(dependencies);
    this.images = new MetadataImageStore(dependencies);
    this.containers = new MetadataContainerStore(dependencies);
    this.sandboxes = new MetadataSandboxStore(dependencies);
    this.leases = new MetadataLeaseManager(dependencies);
    this.content = new MetadataContentStore(
      { ...dependencies, blobs: contentStore, blobGate: this.blobGate },
      { contentSharing },
    );
    const sequence = new Sequence(database, 'snapshots');
    this.#snapshotters = new Map(
      Array.from(snapshotters, ([name, backend]) => [
        name,
        new MetadataSnapshotter({ ...dependencies, backend, sequence }),
      ]),
    );
    for (const name of snapshotters.keys()) this.changes.dirtySnapshotters.add(name);
  }

  /** Errors: InvalidArgument for an empty or unknown name, as clients get it. */
  snapshotter(name: string): MetadataSnapshotter {
    if (name === '') throw invalidArgument('snapshotter argument missing');
    const snapshotter = this.#snapshotters.get(name);
    if (snapshotter === undefined)
      throw invalidArgument(
        `snapshotter not loaded: ${name} (loaded: ${this.snapshotterNames().join(', ')})`,
      );
    return snapshotter;
  }

  snapshotterNames(): string[] {
    return [...this.#snapshotters.keys()];
  }

  /** From now on mutations are reported to it, and deletes with `sync` wait for it. */
  useCollector(collector: GarbageCollector): void {
    this.changes.useCollector(collector);
  }
}
