/**
 * The namespaced view of a snapshotter. The back end's keys are `<namespace>/<number>/<key>`; a number is never given
 * twice, so neither is a back-end key, and what the database does not list is garbage for sure.
 *
 * Crash safety. Create: back end first, row after (snapshot-create.ts). Commit: by an intent (snapshot-commit.ts).
 * Remove: the row alone, the back end follows in a collection.
 *
 * Unlike containerd, kind and labels are answered from the database, and of a back end only what it adds to them.
 */
import { type Context, checkSignal, type NamespacedContext, requireNamespace } from '../../base/context.ts';
import { failedPrecondition } from '../../base/errors.ts';
import { maskLabels } from '../../base/field-mask.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import { checkLabels, type Labels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';
import { SnapshotRemoveSchema } from '../../wire/gen/containerd/events/snapshot_pb.js';
import { parseFilters } from '../filters/filter.ts';
import type {
  CommitOptions,
  PrepareOptions,
  SnapshotInfo,
  Snapshotter,
  SnapshotUsage,
} from '../snapshots/snapshotter.ts';
import { text } from './columns.ts';
import type { Row } from './database.ts';
import { BackendKeys } from './snapshot-backend-keys.ts';
import { SnapshotCommits } from './snapshot-commit.ts';
import { type SnapshotDependencies, snapshotLeaseType } from './snapshot-common.ts';
import { SnapshotCreation } from './snapshot-create.ts';
import {
  hasChildren,
  infoField,
  infoOf,
  labelsForBackend,
  listSnapshots,
  requireSnapshot,
} from './snapshot-rows.ts';
import { leaveLeases, publishEvent } from './store-base.ts';

export class MetadataSnapshotter implements Snapshotter {
  readonly name: string;
  readonly capabilities: readonly string[];
  readonly isRemote: boolean;
  /** What this process is busy with in the back end: the collector leaves it alone. */
  readonly keys: BackendKeys;
  readonly #dependencies: SnapshotDependencies;
  readonly #commits: SnapshotCommits;
  readonly #creation: SnapshotCreation;

  constructor(dependencies: SnapshotDependencies) {
    this.#dependencies = dependencies;
    this.name = dependencies.backend.name;
    this.capabilities = dependencies.backend.capabilities;
    this.isRemote = dependencies.backend.isRemote === true;
    this.keys = new BackendKeys(dependencies.database, dependencies.backend);
    const parts = { ...dependencies, keys: this.keys };
    this.#commits = new SnapshotCommits(parts);
    this.#creation = new SnapshotCreation(parts);
  }

  async stat(ctx: Context, key: SnapshotKey): Promise<SnapshotInfo> {
    return this.#shown(await this.#row(requireNamespace(ctx), key));
  }

  async update(
    ctx: Context,
    info: { key: SnapshotKey; labels: Labels },
    paths: readonly string[],
  ): Promise<SnapshotInfo> {
    const namespaced = requireNamespace(ctx);
    await this.settle(ctx);
    const { database, changes, backend } = this.#dependencies;
    const what = `snapshot ${JSON.stringify(info.key)}`;
    const { row, forBackend } = await database.write((sql) => {
      const current = requireSnapshot(sql, namespaced.namespace, this.name, info.key);
      const before = infoOf(current).labels;
      const labels = maskLabels(what, before, info.labels, paths);
      checkLabels(labels, 'info.Labels');
      sql.run(
        'UPDATE snapshots SET labels = ?, updated_at = ? WHERE namespace = ? AND snapshotter = ? AND key = ?',
        JSON.stringify(labels),
        now(),
        namespaced.namespace,
        this.name,
        info.key,
      );
      const [old, next] = [labelsForBackend(before), labelsForBackend(labels)];
      return {
        row: requireSnapshot(sql, namespaced.namespace, this.name, info.key),
        forBackend: JSON.stringify(old) === JSON.stringify(next) ? undefined : next,
      };
    });
    if (forBackend !== undefined)
      await backend.update(ctx, { key: text(row, 'backend_key') as SnapshotKey, labels: forBackend }, [
        'labels',
      ]);
    changes.deleted();
    return this.#shown(row);
  }

  async usage(ctx: Context, key: SnapshotKey): Promise<SnapshotUsage> {
    return this.#dependencies.backend.usage(ctx, await this.#backendKey(ctx, key));
  }

  async mounts(ctx: Context, key: SnapshotKey): Promise<Mount[]> {
    const row = await this.#row(requireNamespace(ctx), key);
    if (text(row, 'kind') === 'committed')
      throw failedPrecondition(`snapshot ${JSON.stringify(key)} is committed and has no mounts`);
    return this.#dependencies.backend.mounts(ctx, text(row, 'backend_key') as SnapshotKey);
  }

  async prepare(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    const namespaced = requireNamespace(ctx);
    await this.settle(ctx);
    return this.#creation.create('active', namespaced, key, options);
  }

  async view(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    const namespaced = requireNamespace(ctx);
    await this.settle(ctx);
    return this.#creation.create('view', namespaced, key, options);
  }

  async commit(ctx: Context, name: SnapshotKey, key: SnapshotKey, options: CommitOptions): Promise<void> {
    const namespaced = requireNamespace(ctx);
    await this.settle(ctx);
    return this.#commits.commit(namespaced, name, key, options);
  }

  async sync(ctx: Context): Promise<void> {
    await this.#dependencies.backend.sync?.(ctx);
  }

  async remove(ctx: Context, key: SnapshotKey): Promise<void> {
    const namespaced = requireNamespace(ctx);
    await this.settle(ctx);
    const { namespace } = namespaced;
    const { database, changes } = this.#dependencies;
    await database.write((sql) => {
      const row = requireSnapshot(sql, namespace, this.name, key);
      if (row['intent_key'] !== null)
        throw failedPrecondition(`snapshot ${JSON.stringify(key)} is being committed`);
      if (hasChildren(sql, namespace, this.name, key))
        throw failedPrecondition(`cannot remove snapshot with child`);
      sql.run(
        'DELETE FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?',
        namespace,
        this.name,
        key,
      );
      leaveLeases(sql, namespace, snapshotLeaseType(this.name), key);
    });
    changes.dirtySnapshotters.add(this.name);
    changes.deleted();
    await publishEvent(this.#dependencies, namespaced, '/snapshot/remove', SnapshotRemoveSchema, {
      key,
      snapshotter: this.name,
    });
  }

  async *list(ctx: Context, filters: readonly string[]): AsyncGenerator<SnapshotInfo> {
    const { namespace } = requireNamespace(ctx);
    const passes = parseFilters(filters);
    await this.settle(ctx);
    for (let after = ''; ; ) {
      checkSignal(ctx.signal);
      const page = this.#dependencies.database.read((sql) => listSnapshots(sql, namespace, this.name, after));
      for (const row of page) {
        const info = this.#shown(row);
        if (passes((path) => infoField(info, path))) yield info;
        after = info.key;
      }
      if (page.length === 0) return;
    }
  }

  cleanup(ctx: Context): Promise<void> {
    return this.#dependencies.backend.cleanup(ctx);
  }

  /** Ends the commits that an earlier process or a failing disk left half way. */
  settle(ctx: Context): Promise<void> {
    return this.#commits.settle(ctx);
  }

  #shown(row: Row): SnapshotInfo {
    const info = infoOf(row);
    const added = this.#dependencies.backend.addedLabels?.(text(row, 'backend_key') as SnapshotKey);
    return added === undefined ? info : { ...info, labels: { ...info.labels, ...added } };
  }

  async #row(ctx: NamespacedContext, key: SnapshotKey): Promise<Row> {
    await this.settle(ctx);
    return this.#dependencies.database.read((sql) => requireSnapshot(sql, ctx.namespace, this.name, key));
  }

  async #backendKey(ctx: Context, key: SnapshotKey): Promise<SnapshotKey> {
    return text(await this.#row(requireNamespace(ctx), key), 'backend_key') as SnapshotKey;
  }
}
