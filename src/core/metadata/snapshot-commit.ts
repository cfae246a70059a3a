/**
 * Commit, a rename in two databases. The row first takes an intent (the back end's new key and what the row will
 * become), and whoever meets an intent that this process is not busy with finishes or drops it by what the back end
 * has. So there is never a row whose snapshot is gone.
 */
import { type Context, type NamespacedContext, requireNamespace, withNamespace } from '../../base/context.ts';
import { alreadyExists, failedPrecondition, hasCode } from '../../base/errors.ts';
import type { Namespace, SnapshotKey } from '../../base/identifiers.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { checkLabels, withoutEmptyLabels } from '../../base/labels.ts';
import { SnapshotCommitSchema } from '../../wire/gen/containerd/events/snapshot_pb.js';
import type { CommitOptions } from '../snapshots/snapshotter.ts';
import { text, textOrUndefined } from './columns.ts';
import type { Row, Sql } from './database.ts';
import {
  committedParent,
  leaseSnapshot,
  type SnapshotPartDependencies,
  snapshotLeaseType,
} from './snapshot-common.ts';
import {
  type CommitIntent,
  dropIntent,
  finishIntent,
  labelsForBackend,
  requireSnapshot,
  setIntent,
  unfinishedIntents,
} from './snapshot-rows.ts';
import { joinLease, publishEvent, requireLease } from './store-base.ts';

export class SnapshotCommits {
  readonly #dependencies: SnapshotPartDependencies;
  readonly #names = new KeyedLock();
  readonly #recovery = new KeyedLock();

  constructor(dependencies: SnapshotPartDependencies) {
    this.#dependencies = dependencies;
  }

  /** Errors: those of Snapshotter.commit. */
  async commit(ctx: Context, name: SnapshotKey, key: SnapshotKey, options: CommitOptions): Promise<void> {
    const namespaced = requireNamespace(ctx);
    await this.settle(ctx);
    const { backend, database, changes, keys, sequence } = this.#dependencies;
    const snapshotter = backend.name;
    const labels = withoutEmptyLabels(options.labels ?? {});
    checkLabels(labels, 'info.Labels');
    // Another commit under the same name is waited for: it may yet fail.
    using _name = await this.#names.acquire(`${namespaced.namespace} ${name}`, { signal: ctx.signal });
    const backendName = `${namespaced.namespace}/${await sequence.next()}/${name}` as SnapshotKey;
    using _busy = keys.hold(backendName);
    const plan = await database.write((sql) =>
      this.#planCommit(sql, namespaced, { name, key, labels, parent: options.parent }, backendName),
    );
    if (plan === undefined) throw alreadyExists('snapshot', name);
    try {
      await backend.commit(ctx, backendName, plan.backendKey, {
        ...(plan.backendParent === undefined ? {} : { parent: plan.backendParent }),
        labels: labelsForBackend(labels),
        // Only who has asked for `sync` may say so: without it there is none.
        isSynced: options.isSynced === true && backend.sync !== undefined,
      });
    } catch (error) {
      await database.write((sql) => dropIntent(sql, namespaced.namespace, snapshotter, key));
      throw error;
    }
    await database.write((sql) => {
      finishIntent(sql, requireSnapshot(sql, namespaced.namespace, snapshotter, key));
      joinLease(sql, namespaced, snapshotLeaseType(snapshotter), name);
    });
    changes.written();
    await publishEvent(this.#dependencies, namespaced, '/snapshot/commit', SnapshotCommitSchema, {
      key,
      name,
      snapshotter,
    });
  }

  /** Ends the commits that an earlier process or a failing disk left half way. */
  async settle(ctx: Context): Promise<void> {
    const { database, backend, keys } = this.#dependencies;
    const open = (): Row[] =>
      database
        .read((sql) => unfinishedIntents(sql, backend.name))
        .filter((row) => !keys.isBusy(text(row, 'intent_key')));
    if (open().length === 0) return;
    using _alone = await this.#recovery.acquire(backend.name);
    for (const row of open()) {
      const within = withNamespace(ctx, text(row, 'namespace') as Namespace);
      const done = await backend.stat(within, text(row, 'intent_key') as SnapshotKey).then(
        () => true,
        (error: unknown) => {
          if (!hasCode(error, 'NotFound')) throw error;
          return false;
        },
      );
      await database.write((sql) => {
        if (done) finishIntent(sql, row);
        else
          dropIntent(sql, text(row, 'namespace') as Namespace, backend.name, text(row, 'key') as SnapshotKey);
      });
    }
  }

  /** Undefined when the name is taken: the caller's lease then holds what has it. */
  #planCommit(
    sql: Sql,
    ctx: NamespacedContext,
    intent: CommitIntent & { key: SnapshotKey },
    backendName: SnapshotKey,
  ): { backendKey: SnapshotKey; backendParent: SnapshotKey | undefined } | undefined {
    const { name, key, parent, labels } = intent;
    const snapshotter = this.#dependencies.backend.name;
    if (ctx.lease !== undefined) requireLease(sql, ctx.namespace, ctx.lease);
    // Before the key is looked at: a commit that is repeated finds its key gone and its name there.
    if (leaseSnapshot(sql, ctx, snapshotter, name)) return undefined;
    const row = requireSnapshot(sql, ctx.namespace, snapshotter, key);
    if (text(row, 'kind') !== 'active' || row['intent_key'] !== null)
      throw failedPrecondition(`snapshot ${JSON.stringify(key)} is not active`);
    const current = textOrUndefined(row, 'parent');
    if (parent !== undefined && current !== undefined && parent !== current)
      throw failedPrecondition(`cannot rebase snapshot ${JSON.stringify(key)}: it has parent ${current}`);
    const rebases = parent !== undefined && current === undefined;
    const backendParent = rebases ? committedParent(sql, ctx, snapshotter, parent) : undefined;
    setIntent(sql, row, backendName, {
      name,
      labels,
      parent: parent ?? (current as SnapshotKey | undefined),
    });
    return { backendKey: text(row, 'backend_key') as SnapshotKey, backendParent };
  }
}
