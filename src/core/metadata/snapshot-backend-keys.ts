/**
 * What of a back end nobody lists, and its removal, leaf first. Keys that this process is busy with have no row yet
 * and are left alone; while a remote snapshot is being adopted (its key is known only afterwards) nothing is removed.
 */
import type { Context } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import type { SnapshotKey } from '../../base/identifiers.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { Database } from './database.ts';

export class BackendKeys {
  readonly #database: Database;
  readonly #backend: Snapshotter;
  readonly #busy = new Set<string>();
  #adoptions = 0;
  #removing: Promise<void> = Promise.resolve();

  constructor(database: Database, backend: Snapshotter) {
    this.#database = database;
    this.#backend = backend;
  }

  hold(key: SnapshotKey): Disposable {
    this.#busy.add(key);
    return { [Symbol.dispose]: () => this.#busy.delete(key) };
  }

  isBusy(key: string): boolean {
    return this.#busy.has(key);
  }

  /** Waits for a removal under way; until it is disposed no other starts. */
  async pausePruning(): Promise<AsyncDisposable> {
    this.#adoptions += 1;
    await this.#removing;
    return {
      [Symbol.asyncDispose]: async (): Promise<void> => {
        this.#adoptions -= 1;
      },
    };
  }

  /**
   * Removes what is not listed, then frees its space. A key that cannot be removed is left for the next run and named
   * in the log; true when there was one.
   */
  async prune(ctx: Context): Promise<boolean> {
    let left = false;
    for (const key of await this.#unlisted(ctx)) {
      if (this.#adoptions > 0 || this.#isListed(key)) {
        left = true;
        continue;
      }
      const removal = this.#backend.remove(ctx, key);
      this.#removing = removal.catch(() => {});
      try {
        await removal;
      } catch (error) {
        if (hasCode(error, 'NotFound')) continue;
        left = true;
        ctx.log.warn({ snapshotter: this.#backend.name, key, err: error }, 'cannot remove snapshot');
      }
    }
    await this.#backend.cleanup(ctx).catch((error: unknown) => {
      if (!hasCode(error, 'Unimplemented')) throw error;
    });
    return left;
  }

  /** Children before their parents. */
  async #unlisted(ctx: Context): Promise<SnapshotKey[]> {
    const children = new Map<SnapshotKey, SnapshotKey[]>();
    const unlisted: SnapshotKey[] = [];
    for await (const { key, parent } of this.#backend.list(ctx, [])) {
      if (this.#isListed(key)) continue;
      unlisted.push(key);
      if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), key]);
    }
    const ordered: SnapshotKey[] = [];
    const seen = new Set<SnapshotKey>();
    const stack: { key: SnapshotKey; leaving: boolean }[] = unlisted.map((key) => ({ key, leaving: false }));
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (next.leaving) ordered.push(next.key);
      else if (!seen.has(next.key)) {
        seen.add(next.key);
        stack.push({ key: next.key, leaving: true });
        for (const key of children.get(next.key) ?? []) stack.push({ key, leaving: false });
      }
    }
    return ordered;
  }

  #isListed(key: SnapshotKey): boolean {
    if (this.#busy.has(key)) return true;
    const listed = this.#database.read(
      (sql) =>
        sql.get(
          'SELECT 1 FROM snapshots WHERE snapshotter = ? AND backend_key = ? LIMIT 1',
          this.#backend.name,
          key,
        ) ??
        sql.get(
          'SELECT 1 FROM snapshots WHERE snapshotter = ? AND intent_key = ? LIMIT 1',
          this.#backend.name,
          key,
        ),
    );
    return listed !== undefined;
  }
}
