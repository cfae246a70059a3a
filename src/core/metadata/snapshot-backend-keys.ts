/**
 * What of a back end nobody lists, and its removal, leaf first. Keys that this process is busy with have no row yet
 * and are left alone; while a remote snapshot is being adopted (its key is known only afterwards) nothing is removed.
 *
 * A back end of another program may know namespaces itself (another containerd's): one that wants a namespace to list
 * in is asked for each of ours. containerd gives up there, and such a back end fills up.
 */
import { type Context, withNamespace } from '../../base/context.ts';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import { type Namespace, parseNamespace, type SnapshotKey } from '../../base/identifiers.ts';
import type { SnapshotInfo, Snapshotter } from '../snapshots/snapshotter.ts';
import { text } from './columns.ts';
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
      const removal = this.#backend.remove(inNamespaceOf(ctx, key), key);
      this.#removing = removal.catch(() => {});
      try {
        await removal;
      } catch (error) {
        if (hasCode(error, 'NotFound')) continue;
        left = true;
        ctx.log.warn({ snapshotter: this.#backend.name, key, err: error }, 'cannot remove snapshot');
      }
    }
    await this.#cleanUp(ctx);
    return left;
  }

  /** All that the back end has. Errors: those of its list. */
  async *all(ctx: Context): AsyncGenerator<SnapshotInfo> {
    try {
      yield* this.#backend.list(ctx, []);
    } catch (error) {
      if (!this.#wantsNamespace(error)) throw error;
      for (const namespace of this.#namespaces())
        yield* this.#backend.list(withNamespace(ctx, namespace), []);
    }
  }

  async #cleanUp(ctx: Context): Promise<void> {
    try {
      await this.#backend.cleanup(ctx);
    } catch (error) {
      if (hasCode(error, 'Unimplemented')) return;
      if (!this.#wantsNamespace(error)) throw error;
      for (const namespace of this.#namespaces())
        await this.#backend.cleanup(withNamespace(ctx, namespace)).catch((failure: unknown) => {
          if (!hasCode(failure, 'Unimplemented')) throw failure;
        });
    }
  }

  /** By the words: containerd's list answers with the code of no class. */
  #wantsNamespace(error: unknown): boolean {
    return (
      this.#backend.isRemote === true && ContainerdError.from(error).message.includes('namespace is required')
    );
  }

  #namespaces(): Namespace[] {
    const rows = this.#database.read((sql) => sql.all('SELECT name FROM namespaces ORDER BY name'));
    return rows.map((row) => text(row, 'name') as Namespace);
  }

  /** Children before their parents. */
  async #unlisted(ctx: Context): Promise<SnapshotKey[]> {
    const children = new Map<SnapshotKey, SnapshotKey[]>();
    const unlisted: SnapshotKey[] = [];
    for await (const { key, parent } of this.all(ctx)) {
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

/** Keys of ours begin with the namespace that they were made in. */
function inNamespaceOf(ctx: Context, key: SnapshotKey): Context {
  try {
    return withNamespace(ctx, parseNamespace(key.slice(0, Math.max(key.indexOf('/'), 0))));
  } catch {
    return ctx;
  }
}
