/**
 * Prepare and View: the back end first, the row after; in between lies only garbage.
 *
 * Remote snapshots: Prepare with label `containerd.io/snapshot.ref` = target. A back end that has it answers
 * AlreadyExists; its committed snapshot with that label and parent is then listed as `target` here, and the caller
 * gets the AlreadyExists.
 */
import { type Context, forCleanup, type NamespacedContext } from '../../base/context.ts';
import { alreadyExists, hasCode, notFound } from '../../base/errors.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import { checkLabels, type Labels, labelOf, withoutEmptyLabels } from '../../base/labels.ts';
import { limits } from '../../base/limits.ts';
import type { Mount } from '../../platform/mount.ts';
import { SnapshotPrepareSchema } from '../../wire/gen/containerd/events/snapshot_pb.js';
import type { PrepareOptions } from '../snapshots/snapshotter.ts';
import {
  addSnapshot,
  checkNewSnapshot,
  leaseSnapshot,
  type SnapshotPartDependencies,
} from './snapshot-common.ts';
import { labelsForBackend, snapshotRefLabel } from './snapshot-rows.ts';
import { publishEvent } from './store-base.ts';

export class SnapshotCreation {
  readonly #dependencies: SnapshotPartDependencies;

  constructor(dependencies: SnapshotPartDependencies) {
    this.#dependencies = dependencies;
  }

  /** Errors: those of Snapshotter.prepare and view. */
  async create(
    kind: 'active' | 'view',
    ctx: NamespacedContext,
    key: SnapshotKey,
    options: PrepareOptions,
  ): Promise<Mount[]> {
    const { backend, database, changes, sequence, keys } = this.#dependencies;
    const { parent } = options;
    const labels = withoutEmptyLabels(options.labels ?? {});
    checkLabels(labels, 'info.Labels');
    const target = labelOf(labels, snapshotRefLabel) as SnapshotKey | undefined;
    const backendParent = database.read((sql) => checkNewSnapshot(sql, ctx, backend.name, { key, parent }));
    if (
      target !== undefined &&
      (await database.write((sql) => leaseSnapshot(sql, ctx, backend.name, target)))
    )
      throw alreadyExists('target snapshot', target);
    const backendKey = `${ctx.namespace}/${await sequence.next()}/${key}` as SnapshotKey;
    using _busy = keys.hold(backendKey);
    await using _adopting = target === undefined ? undefined : await keys.pausePruning();
    const backendOptions: PrepareOptions = {
      ...(backendParent === undefined ? {} : { parent: backendParent }),
      labels: labelsForBackend(labels),
    };
    let mounts: Mount[];
    try {
      mounts =
        kind === 'active'
          ? await backend.prepare(ctx, backendKey, backendOptions)
          : await backend.view(ctx, backendKey, backendOptions);
    } catch (error) {
      if (target === undefined || !hasCode(error, 'AlreadyExists')) throw error;
      await this.#adopt(ctx, { target, parent, backendParent, labels });
      throw alreadyExists('target snapshot', target);
    }
    try {
      await database.write((sql) => {
        checkNewSnapshot(sql, ctx, backend.name, { key, parent });
        addSnapshot(sql, ctx, backend.name, { key, backendKey, parent, kind, labels });
      });
    } catch (error) {
      // What this cannot remove, the collector will.
      await backend.remove(forCleanup(ctx, limits.cleanupMs), backendKey).catch(() => {});
      throw error;
    }
    changes.written();
    if (kind === 'active')
      await publishEvent(this.#dependencies, ctx, '/snapshot/prepare', SnapshotPrepareSchema, {
        key,
        parent: parent ?? '',
        snapshotter: backend.name,
      });
    return mounts;
  }

  /** Lists a committed snapshot that the back end says it has for `target`. Errors: NotFound. */
  async #adopt(
    ctx: NamespacedContext,
    { target, parent, backendParent, labels }: RemoteSnapshot,
  ): Promise<void> {
    const { backend, database, changes } = this.#dependencies;
    const found = await this.#committedFor(ctx, target, backendParent);
    if (found === undefined) throw notFound('target snapshot in the back end', target);
    await database.write((sql) => {
      if (leaseSnapshot(sql, ctx, backend.name, target)) return;
      const adopted = { key: target, backendKey: found, parent, kind: 'committed', labels } as const;
      addSnapshot(sql, ctx, backend.name, adopted);
    });
    changes.written();
  }

  async #committedFor(
    ctx: Context,
    target: SnapshotKey,
    backendParent: SnapshotKey | undefined,
  ): Promise<SnapshotKey | undefined> {
    const filter = `labels."${snapshotRefLabel}"==${JSON.stringify(target)}`;
    let found: SnapshotKey | undefined;
    for await (const info of this.#dependencies.backend.list(ctx, [filter]))
      if (info.kind === 'committed' && info.parent === backendParent) found = info.key;
    return found;
  }
}

interface RemoteSnapshot {
  readonly target: SnapshotKey;
  readonly parent: SnapshotKey | undefined;
  readonly backendParent: SnapshotKey | undefined;
  readonly labels: Labels;
}
