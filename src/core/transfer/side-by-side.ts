/**
 * The layers of an image side by side: each into a snapshot of its own without a parent, while its blob is still being
 * downloaded; then one sync for all, and the commits from the bottom up, each rebased onto the one before.
 *
 * Workers start in the order of the layers, and a layer is started only when the worker of the one below runs: one
 * that has to know what lies below (a hard link to it, a directory that it does not name) waits for layers that are
 * under way already, never for one that waits for a worker.
 *
 * Nothing is committed before its diffID and the blob's digest hold, and before all that lies below. When one fails,
 * those below it that are complete are committed all the same: a retry finds them.
 */
import { forCleanup, type NamespacedContext, withSignal } from '../../base/context.ts';
import { deferred } from '../../base/deferred.ts';
import { internal } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { applyTarget, rebaseMounts } from '../diff/apply-target.ts';
import type { LayerFeed } from '../diff/layer-feed.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { LayerSource } from './layer-source.ts';
import type { Layer, LayerUnpack, PreparedLayer } from './layer-unpack.ts';
import type { ProgressReport } from './progress-report.ts';
import { TaskGroup } from './task-group.ts';

export interface SideBySideDependencies {
  readonly unpack: LayerUnpack;
  readonly snapshotter: Snapshotter;
  readonly source: LayerSource;
  readonly report: ProgressReport;
}

/** A layer under way. */
interface Running {
  readonly layer: Layer;
  readonly below: Running | undefined;
  prepared: PreparedLayer;
  isApplied: boolean;
  isCommitted: boolean;
  /** Settles when the layer is applied. */
  done: Promise<void>;
}

/** It has no parent yet. */
const isRebased = ({ below }: Running): boolean => below !== undefined;

export class SideBySide implements AsyncDisposable {
  readonly #deps: SideBySideDependencies;
  readonly #ctx: NamespacedContext;
  readonly #group: TaskGroup;
  /** Of the tasks: ends with the first failure. */
  readonly #inner: NamespacedContext;
  readonly #cleanup = new AsyncDisposableStack();
  #running: Running[] = [];

  constructor(ctx: NamespacedContext, dependencies: SideBySideDependencies) {
    this.#deps = dependencies;
    this.#ctx = ctx;
    this.#group = new TaskGroup(ctx.signal);
    this.#inner = withSignal(ctx, this.#group.signal);
  }

  /** Gives up what was not committed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }

  /** Parents first; good for one use. Errors: those of LayerUnpack, the source and the snapshotter. */
  async run(layers: readonly Layer[]): Promise<void> {
    try {
      await this.#group.run(() => this.#startAll(layers)).catch(() => {});
      await this.#group.done();
    } catch (error) {
      await this.#saveComplete();
      throw error;
    }
    await this.#commit(this.#ctx, this.#running);
  }

  async #startAll(layers: readonly Layer[]): Promise<void> {
    const { unpack, report } = this.#deps;
    for (const layer of layers) {
      this.#cleanup.use(await unpack.lock(this.#inner, layer));
      const below = this.#running.at(-1);
      const prepared = await this.#prepare(layer, below);
      if (prepared !== undefined) await this.#start(layer, below, prepared);
      else {
        // Somebody else has unpacked it, and so all below: what we have of that is not needed.
        report.extracted(layer.descriptor);
        await this.#settle();
      }
    }
  }

  #prepare(layer: Layer, below: Running | undefined): Promise<PreparedLayer | undefined> {
    return this.#deps.unpack.prepare(this.#inner, layer, { isRebased: below !== undefined });
  }

  /** Everything that is under way is committed, so that the next layer can stand on it. */
  async #settle(): Promise<void> {
    await Promise.all(this.#running.map(({ done }) => done));
    await this.#commit(this.#inner, this.#running);
    this.#running = [];
  }

  /** Resolves when the layer's worker runs. */
  async #start(layer: Layer, below: Running | undefined, prepared: PreparedLayer): Promise<void> {
    const running: Running = {
      layer,
      below,
      prepared,
      isApplied: false,
      isCommitted: false,
      done: Promise.resolve(),
    };
    this.#cleanup.defer(() => this.#giveUp(running));
    const started = deferred();
    running.done = this.#group.run(async () => {
      await this.#apply(running, () => started.resolve());
      running.isApplied = true;
      this.#deps.report.extracted(layer.descriptor);
    });
    this.#running.push(running);
    await Promise.race([started.promise, running.done]);
  }

  async #apply(running: Running, onStarted: () => void): Promise<void> {
    const { source, unpack } = this.#deps;
    const { layer } = running;
    const feed = unpack.canFollow(layer) ? await source.feed?.(layer.descriptor) : undefined;
    await using hold = feed?.hold();
    const isFollowed = feed !== undefined && hold !== undefined;
    if (isFollowed && (await this.#follow(running, feed, onStarted))) return;
    await source.ready(layer.descriptor);
    if (isFollowed) await this.#renew(running);
    await unpack.apply(this.#inner, layer, mountsOf(running), { onStarted, ...lowersOf(running) });
  }

  /** False when what was followed turned out not to be the blob. */
  async #follow(running: Running, feed: LayerFeed, onStarted: () => void): Promise<boolean> {
    const { source, unpack } = this.#deps;
    const { layer } = running;
    try {
      await unpack.apply(this.#inner, layer, mountsOf(running), { feed, onStarted, ...lowersOf(running) });
    } catch (error) {
      // Bytes of an earlier try may be wrong, and are seen here before the download has its digest to judge by.
      if (!this.#inner.signal.aborted) await source.ready(layer.descriptor);
      if (!feed.isAbandoned) throw error;
      return false;
    }
    await source.ready(layer.descriptor);
    return true;
  }

  /** A fresh snapshot in the place of one that has something wrong in it. */
  async #renew(running: Running): Promise<void> {
    const { unpack } = this.#deps;
    const { layer } = running;
    await unpack.removeQuietly(this.#inner, running.prepared.key);
    const prepared = await unpack.prepare(this.#inner, layer, { isRebased: isRebased(running) });
    if (prepared === undefined)
      throw internal(`layer ${layer.chainId} came from elsewhere meanwhile: pull again`);
    running.prepared = prepared;
  }

  async #giveUp({ prepared, isCommitted }: Running): Promise<void> {
    if (!isCommitted) await this.#deps.unpack.removeQuietly(this.#ctx, prepared.key);
  }

  async #commit(ctx: NamespacedContext, running: readonly Running[]): Promise<void> {
    if (running.length === 0) return;
    const { snapshotter, unpack } = this.#deps;
    await snapshotter.sync?.(ctx);
    const isSynced = snapshotter.sync !== undefined;
    for (const each of running) {
      await unpack.commit(ctx, each.layer, each.prepared.key, { isRebased: isRebased(each), isSynced });
      each.isCommitted = true;
    }
  }

  async #saveComplete(): Promise<void> {
    const missing = this.#running.findIndex(({ isApplied }) => !isApplied);
    const complete = missing === -1 ? this.#running : this.#running.slice(0, missing);
    try {
      await this.#commit(forCleanup(this.#ctx, limits.cleanupMs), complete);
    } catch (error) {
      this.#ctx.log.warn({ error: String(error) }, 'complete layers of a failed unpack are given up');
    }
  }
}

const mountsOf = (running: Running): PreparedLayer['mounts'] =>
  isRebased(running) ? rebaseMounts(running.prepared.mounts) : running.prepared.mounts;

/** Of a layer without a parent: what will be below it. */
const lowersOf = ({ below }: Running): { lowers?: () => Promise<string[]> } =>
  below === undefined ? {} : { lowers: () => directoriesUpTo(below) };

/** The directories of a layer and of all below it, the uppermost first, once they are complete. */
async function directoriesUpTo(running: Running): Promise<string[]> {
  await running.done;
  const target = applyTarget(running.prepared.mounts);
  if (target.kind === 'mounts')
    throw internal('a snapshot that is to be rebased is no directory: its snapshotter cannot be used so');
  const own = target.kind === 'directory' ? [target.root] : [target.upper, ...target.lowers];
  return running.below === undefined ? own : [...own, ...(await directoriesUpTo(running.below))];
}

/** Whether the layers of an image can go side by side: parents are known by directory, and added afterwards. */
export const canRebase = ({ name, capabilities }: Snapshotter): boolean =>
  name === 'overlayfs' && capabilities.includes('rebase');
