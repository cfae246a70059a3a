/**
 * One run of garbage collection over the metadata store: mark, sweep, then free what nobody lists on disk.
 *
 * Writers wait from the start of the mark to the end of the sweep, which is one transaction; readers and the event
 * loop do not (a breath every 2 ms; docs/decisions/0020 has the figures). The bytes are removed afterwards, outside that
 * pause, each blob under its gate so that a commit of the same digest either comes first and keeps it, or finds it gone
 * and stores it again.
 */
import { type Context, type NamespacedContext, withNamespace, withTimeout } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { wrap } from '../../base/errors.ts';
import type { IngestRef, Namespace } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { packAny } from '../../wire/any.ts';
import { ImageDeleteSchema } from '../../wire/gen/containerd/events/image_pb.js';
import { SnapshotRemoveSchema } from '../../wire/gen/containerd/events/snapshot_pb.js';
import { GcGraph } from '../metadata/gc-graph.ts';
import { type Garbage, sweep } from '../metadata/gc-sweep.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import { breather, mark } from './reachability.ts';

export interface CollectionResult {
  /** Time that writers had to wait. */
  readonly pauseMs: number;
  readonly garbage: Garbage;
}

export class Collector {
  readonly #store: MetadataStore;

  constructor({ store }: { store: MetadataStore }) {
    this.#store = store;
  }

  /** Runs must not overlap. Errors: whatever made it fail; what was swept stays swept. */
  async run(ctx: Context): Promise<CollectionResult> {
    const { database, changes } = this.#store;
    await this.#settle(ctx);
    const started = performance.now();
    const garbage = await database.exclusive(async (writeOnce, writeInSteps) => {
      const { collectibles } = this.#store;
      const graph = new GcGraph({ reader: database, collectibles }, { at: now() });
      await graph.load();
      const marked = await mark(graph.roots, (node) => graph.edgesOf(node), graph.breathe);
      const found = await graph.garbage(marked);
      await sweep(found, { writeOnce, writeInSteps });
      return found;
    });
    const pauseMs = performance.now() - started;
    if (garbage.content.length + garbage.ingests.length > 0) changes.contentIsDirty = true;
    for (const { snapshotter } of garbage.snapshots) changes.dirtySnapshotters.add(snapshotter);
    await this.#announce(ctx, garbage);
    await this.#freeCollectibles(ctx, garbage);
    await this.#freeContent();
    await this.#freeSnapshots(ctx);
    return { pauseMs, garbage };
  }

  /** What a proxy plugin that is not there leaves unsettled is listed under both of its keys, and so is kept. */
  async #settle(ctx: Context): Promise<void> {
    for (const name of this.#store.snapshotterNames()) {
      const snapshotter = this.#store.snapshotter(name);
      try {
        await snapshotter.settle(ctx);
      } catch (error) {
        if (!snapshotter.isRemote) throw error;
        ctx.log.warn({ snapshotter: name, err: error }, 'commits cannot be settled yet');
      }
    }
  }

  async #announce(ctx: Context, { images, snapshots }: Garbage): Promise<void> {
    const { events } = this.#store;
    const breathe = breather();
    for (const { namespace, name } of images)
      await events.publish(within(ctx, namespace), '/images/delete', packAny(ImageDeleteSchema, { name }));
    for (const { namespace, key, snapshotter } of snapshots) {
      await breathe();
      await events.publish(
        within(ctx, namespace),
        '/snapshot/remove',
        packAny(SnapshotRemoveSchema, { key, snapshotter }),
      );
    }
  }

  /** A stream or a mount that does not go away is no reason to keep content. */
  async #freeCollectibles(ctx: Context, { collectibles }: Garbage): Promise<void> {
    for (const [collectible, objects] of collectibles)
      try {
        await collectible.free(ctx, objects);
      } catch (error) {
        ctx.log.error({ err: error, kind: collectible.kind }, 'cannot free what was collected');
      }
  }

  async #freeContent(): Promise<void> {
    const { changes, contentStore, database, blobGate } = this.#store;
    if (!changes.contentIsDirty) return;
    changes.contentIsDirty = false;
    try {
      const breathe = breather();
      const isListed = (digest: Digest): boolean =>
        database.read(
          (sql) =>
            sql.get('SELECT 1 FROM content WHERE digest = ? LIMIT 1', digest) ??
            sql.get('SELECT 1 FROM ingests WHERE expected = ? LIMIT 1', digest),
        ) !== undefined;
      for await (const digest of contentStore.blobs()) {
        await breathe();
        if (isListed(digest)) continue;
        using _gate = await blobGate.acquire(digest);
        if (!isListed(digest)) await contentStore.removeBlob(digest);
      }
      await contentStore.pruneIngests((ref: IngestRef) =>
        database.read((sql) => sql.get('SELECT 1 FROM ingests WHERE backend_ref = ?', ref) !== undefined),
      );
    } catch (error) {
      changes.contentIsDirty = true;
      throw error;
    }
  }

  /**
   * One failing back end does not keep the others from being freed. Errors: the first, at the end; what another program
   * does not do is only logged, as by containerd.
   */
  async #freeSnapshots(ctx: Context): Promise<void> {
    const { changes } = this.#store;
    const failures: unknown[] = [];
    for (const name of [...changes.dirtySnapshotters].filter((dirty) => this.#isLoaded(dirty))) {
      changes.dirtySnapshotters.delete(name);
      const { keys, isRemote } = this.#store.snapshotter(name);
      let left = true;
      try {
        left = await keys.prune(isRemote ? withTimeout(ctx, limits.proxyPruneMs) : ctx);
      } catch (error) {
        if (isRemote)
          ctx.log.warn({ snapshotter: name, err: error }, 'snapshots are left to the next collection');
        else failures.push(wrap(`prune snapshotter ${name}`, error));
      }
      if (left) changes.dirtySnapshotters.add(name);
    }
    if (failures.length > 0) throw failures[0];
  }

  #isLoaded(name: string): boolean {
    return this.#store.snapshotterNames().includes(name);
  }
}

const within = (ctx: Context, namespace: string): NamespacedContext =>
  withNamespace(ctx, namespace as Namespace);
