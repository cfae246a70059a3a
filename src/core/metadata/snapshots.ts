/**
 * The namespaced view of a snapshotter. The back end's keys are `<namespace>/<number>/<key>`; a number is never given
 * twice, so neither is a back-end key, and what the database does not list is garbage for sure.
 *
 * Crash safety. Prepare: back end first, row after; in between lies only garbage. Remove: the row alone, the back end
 * follows in a collection. Commit renames in two databases: the row first takes an intent (the back end's new key and
 * what the row will become), and whoever meets an intent that this process is not busy with finishes or drops it by
 * what the back end has. So there is never a row whose snapshot is gone.
 *
 * Remote snapshots: Prepare with label `containerd.io/snapshot.ref` = target. A back end that has it answers
 * AlreadyExists; its committed snapshot with that label and parent is then listed as `target` here, and the caller
 * gets the AlreadyExists.
 *
 * Unlike containerd, kind and labels are answered from the database without asking the back end.
 */
import {
  type Context,
  checkSignal,
  forCleanup,
  type NamespacedContext,
  requireNamespace,
} from '../../base/context.ts';
import { alreadyExists, failedPrecondition, hasCode, invalidArgument, notFound } from '../../base/errors.ts';
import { maskLabels } from '../../base/field-mask.ts';
import type { Namespace, SnapshotKey } from '../../base/identifiers.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { checkLabels, type Labels, labelOf, withoutEmptyLabels } from '../../base/labels.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';
import {
  SnapshotCommitSchema,
  SnapshotPrepareSchema,
  SnapshotRemoveSchema,
} from '../../wire/gen/containerd/events/snapshot_pb.js';
import { parseFilters } from '../filters/filter.ts';
import type { PrepareOptions, SnapshotInfo, Snapshotter, SnapshotUsage } from '../snapshots/snapshotter.ts';
import { text, textOrUndefined } from './columns.ts';
import type { Row, Sql } from './database.ts';
import type { Sequence } from './sequence.ts';
import { BackendKeys } from './snapshot-backend-keys.ts';
import {
  absentSnapshot,
  type CommitIntent,
  dropIntent,
  findSnapshot,
  finishIntent,
  hasChildren,
  infoField,
  infoOf,
  insertSnapshot,
  labelsForBackend,
  listSnapshots,
  requireSnapshot,
  setIntent,
  snapshotRefLabel,
  unfinishedIntents,
} from './snapshot-rows.ts';
import {
  ensureNamespace,
  joinLease,
  leaveLeases,
  publishEvent,
  requireLease,
  type StoreDependencies,
} from './store-base.ts';

export interface SnapshotDependencies extends StoreDependencies {
  readonly backend: Snapshotter;
  readonly sequence: Sequence;
}

export class MetadataSnapshotter implements Snapshotter {
  readonly name: string;
  readonly capabilities: readonly string[];
  /** What this process is busy with in the back end: the collector leaves it alone. */
  readonly keys: BackendKeys;
  readonly #dependencies: SnapshotDependencies;
  readonly #names = new KeyedLock();
  readonly #recovery = new KeyedLock();

  constructor(dependencies: SnapshotDependencies) {
    this.#dependencies = dependencies;
    this.name = dependencies.backend.name;
    this.capabilities = dependencies.backend.capabilities;
    this.keys = new BackendKeys(dependencies.database, dependencies.backend);
  }

  async stat(ctx: Context, key: SnapshotKey): Promise<SnapshotInfo> {
    return infoOf(await this.#row(requireNamespace(ctx), key));
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
      checkLabels(labels);
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
    return infoOf(row);
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

  prepare(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    return this.#create('active', requireNamespace(ctx), key, options);
  }

  view(ctx: Context, key: SnapshotKey, options: PrepareOptions): Promise<Mount[]> {
    return this.#create('view', requireNamespace(ctx), key, options);
  }

  async commit(ctx: Context, name: SnapshotKey, key: SnapshotKey, options: PrepareOptions): Promise<void> {
    const namespaced = requireNamespace(ctx);
    await this.settle(ctx);
    const { backend, database, changes, sequence } = this.#dependencies;
    const labels = withoutEmptyLabels(options.labels ?? {});
    checkLabels(labels);
    // Another commit under the same name is waited for: it may yet fail.
    using _name = await this.#names.acquire(`${namespaced.namespace} ${name}`, { signal: ctx.signal });
    const backendName = `${namespaced.namespace}/${await sequence.next()}/${name}` as SnapshotKey;
    using _busy = this.keys.hold(backendName);
    const plan = await database.write((sql) =>
      this.#planCommit(sql, namespaced, { name, key, labels, parent: options.parent }, backendName),
    );
    if (plan === undefined) throw alreadyExists('snapshot', name);
    try {
      await backend.commit(ctx, backendName, plan.backendKey, {
        ...(plan.backendParent === undefined ? {} : { parent: plan.backendParent }),
        labels: labelsForBackend(labels),
      });
    } catch (error) {
      await database.write((sql) => dropIntent(sql, namespaced.namespace, this.name, key));
      throw error;
    }
    await database.write((sql) => {
      finishIntent(sql, requireSnapshot(sql, namespaced.namespace, this.name, key));
      joinLease(sql, namespaced, this.#leaseType, name);
    });
    changes.written();
    await publishEvent(this.#dependencies, namespaced, '/snapshot/commit', SnapshotCommitSchema, {
      key,
      name,
      snapshotter: this.name,
    });
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
      leaveLeases(sql, namespace, this.#leaseType, key);
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
        const info = infoOf(row);
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
  async settle(ctx: Context): Promise<void> {
    const { database, backend } = this.#dependencies;
    const open = (): Row[] =>
      database
        .read((sql) => unfinishedIntents(sql, this.name))
        .filter((row) => !this.keys.isBusy(text(row, 'intent_key')));
    if (open().length === 0) return;
    using _alone = await this.#recovery.acquire(this.name);
    for (const row of open()) {
      const done = await backend.stat(ctx, text(row, 'intent_key') as SnapshotKey).then(
        () => true,
        (error: unknown) => {
          if (!hasCode(error, 'NotFound')) throw error;
          return false;
        },
      );
      await database.write((sql) => {
        if (done) finishIntent(sql, row);
        else dropIntent(sql, text(row, 'namespace') as Namespace, this.name, text(row, 'key') as SnapshotKey);
      });
    }
  }

  get #leaseType(): string {
    return `snapshots/${this.name}`;
  }

  async #row(ctx: NamespacedContext, key: SnapshotKey): Promise<Row> {
    await this.settle(ctx);
    return this.#dependencies.database.read((sql) => requireSnapshot(sql, ctx.namespace, this.name, key));
  }

  async #backendKey(ctx: Context, key: SnapshotKey): Promise<SnapshotKey> {
    return text(await this.#row(requireNamespace(ctx), key), 'backend_key') as SnapshotKey;
  }

  async #create(
    kind: 'active' | 'view',
    ctx: NamespacedContext,
    key: SnapshotKey,
    options: PrepareOptions,
  ): Promise<Mount[]> {
    const { backend, database, changes, sequence } = this.#dependencies;
    const labels = withoutEmptyLabels(options.labels ?? {});
    checkLabels(labels);
    const target = labelOf(labels, snapshotRefLabel) as SnapshotKey | undefined;
    await this.settle(ctx);
    const backendParent = database.read((sql) => this.#checkNew(sql, ctx, key, options.parent));
    if (target !== undefined && (await this.#leaseExisting(ctx, target)))
      throw alreadyExists('snapshot', target);
    const backendKey = `${ctx.namespace}/${await sequence.next()}/${key}` as SnapshotKey;
    using _busy = this.keys.hold(backendKey);
    await using _adopting = target === undefined ? undefined : await this.keys.pausePruning();
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
      await this.#adopt(ctx, target, options.parent, backendParent, labels);
      throw alreadyExists('snapshot', target);
    }
    try {
      await database.write((sql) => {
        this.#checkNew(sql, ctx, key, options.parent);
        this.#insert(sql, ctx, key, { backendKey, parent: options.parent, kind, labels });
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
        parent: options.parent ?? '',
        snapshotter: this.name,
      });
    return mounts;
  }

  /** The parent's key in the back end. Errors: NotFound (lease, parent), AlreadyExists, InvalidArgument. */
  #checkNew(
    sql: Sql,
    ctx: NamespacedContext,
    key: SnapshotKey,
    parent: SnapshotKey | undefined,
  ): SnapshotKey | undefined {
    if (ctx.lease !== undefined) requireLease(sql, ctx.namespace, ctx.lease);
    if (findSnapshot(sql, ctx.namespace, this.name, key) !== undefined) throw alreadyExists('snapshot', key);
    return parent === undefined ? undefined : this.#committedParent(sql, ctx, parent);
  }

  #committedParent(sql: Sql, ctx: NamespacedContext, parent: SnapshotKey): SnapshotKey {
    const row = findSnapshot(sql, ctx.namespace, this.name, parent);
    if (row === undefined) throw absentSnapshot('parent snapshot', parent);
    if (text(row, 'kind') !== 'committed')
      throw invalidArgument(`parent snapshot ${JSON.stringify(parent)} is not committed`);
    return text(row, 'backend_key') as SnapshotKey;
  }

  #insert(
    sql: Sql,
    ctx: NamespacedContext,
    key: SnapshotKey,
    values: {
      backendKey: SnapshotKey;
      parent: SnapshotKey | undefined;
      kind: SnapshotInfo['kind'];
      labels: Labels;
    },
  ): void {
    ensureNamespace(sql, ctx.namespace);
    insertSnapshot(sql, ctx.namespace, this.name, { key, ...values });
    joinLease(sql, ctx, this.#leaseType, key);
  }

  async #leaseExisting(ctx: NamespacedContext, key: SnapshotKey): Promise<boolean> {
    return this.#dependencies.database.write((sql) => {
      if (findSnapshot(sql, ctx.namespace, this.name, key) === undefined) return false;
      joinLease(sql, ctx, this.#leaseType, key);
      return true;
    });
  }

  /** Lists a committed snapshot that the back end says it has for `target`. Errors: NotFound. */
  async #adopt(
    ctx: NamespacedContext,
    target: SnapshotKey,
    parent: SnapshotKey | undefined,
    backendParent: SnapshotKey | undefined,
    labels: Labels,
  ): Promise<void> {
    const filter = `labels."${snapshotRefLabel}"==${JSON.stringify(target)}`;
    let backendKey: SnapshotKey | undefined;
    for await (const info of this.#dependencies.backend.list(ctx, [filter]))
      if (info.kind === 'committed' && info.parent === backendParent) backendKey = info.key;
    if (backendKey === undefined) throw notFound('target snapshot in the back end', target);
    const found = backendKey;
    await this.#dependencies.database.write((sql) => {
      if (findSnapshot(sql, ctx.namespace, this.name, target) !== undefined)
        joinLease(sql, ctx, this.#leaseType, target);
      else this.#insert(sql, ctx, target, { backendKey: found, parent, kind: 'committed', labels });
    });
    this.#dependencies.changes.written();
  }

  /** Undefined when the name is taken: the caller's lease then holds what has it. */
  #planCommit(
    sql: Sql,
    ctx: NamespacedContext,
    intent: CommitIntent & { key: SnapshotKey },
    backendName: SnapshotKey,
  ): { backendKey: SnapshotKey; backendParent: SnapshotKey | undefined } | undefined {
    const { name, key, parent, labels } = intent;
    if (ctx.lease !== undefined) requireLease(sql, ctx.namespace, ctx.lease);
    // Before the key is looked at: a commit that is repeated finds its key gone and its name there.
    if (findSnapshot(sql, ctx.namespace, this.name, name) !== undefined) {
      joinLease(sql, ctx, this.#leaseType, name);
      return undefined;
    }
    const row = requireSnapshot(sql, ctx.namespace, this.name, key);
    if (text(row, 'kind') !== 'active' || row['intent_key'] !== null)
      throw failedPrecondition(`snapshot ${JSON.stringify(key)} is not active`);
    const current = textOrUndefined(row, 'parent');
    if (parent !== undefined && current !== undefined && parent !== current)
      throw failedPrecondition(`cannot rebase snapshot ${JSON.stringify(key)}: it has parent ${current}`);
    const rebases = parent !== undefined && current === undefined;
    const backendParent = rebases ? this.#committedParent(sql, ctx, parent) : undefined;
    setIntent(sql, row, backendName, {
      name,
      labels,
      parent: parent ?? (current as SnapshotKey | undefined),
    });
    return { backendKey: text(row, 'backend_key') as SnapshotKey, backendParent };
  }
}
