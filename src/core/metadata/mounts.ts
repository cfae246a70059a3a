/**
 * Activations of the mount manager in the database, and as objects of collection.
 *
 * A row comes before its first mount and goes before its last, so that what is mounted without a row is garbage for
 * sure. Its number names the directory and is never given twice. Rows of an earlier boot tell of mounts that are gone.
 * An activation under way is a root: its caller has yet to hear of it. Once it stands, leases and labels decide.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { absent, type ContainerdError, taken } from '../../base/errors.ts';
import { checkLabels, type Labels, withoutEmptyLabels } from '../../base/labels.ts';
import { type Instant, instantOfNs, now } from '../../base/time.ts';
import type { Mount } from '../../platform/mount.ts';
import { mapField, parseFilters } from '../filters/filter.ts';
import type { CollectibleObject } from '../gc/collectible.ts';
import type { Activation, ActiveMount } from '../mounts/mount-manager.ts';
import { integer, labels, text, textOrUndefined } from './columns.ts';
import type { Row } from './database.ts';
import { ensureNamespace, requireLease, type StoreDependencies } from './store-base.ts';

/** A row for the one who cleans up. */
export interface MountRecord {
  readonly number: number;
  readonly namespace: string;
  readonly name: string;
  readonly boot: string;
  readonly isComplete: boolean;
  readonly activation: Activation;
}

const mountNotFound = (name: string): ContainerdError => absent(`mount ${JSON.stringify(name)} not found`);

export class MetadataMountStore {
  readonly #dependencies: Pick<StoreDependencies, 'database' | 'changes'>;

  constructor(dependencies: Pick<StoreDependencies, 'database' | 'changes'>) {
    this.#dependencies = dependencies;
  }

  /** Takes the name. Errors: AlreadyExists, NotFound (lease), InvalidArgument (labels). */
  async begin(ctx: NamespacedContext, name: string, given: Labels, boot: string): Promise<number> {
    const kept = withoutEmptyLabels(given);
    checkLabels(kept, 'info.Labels');
    const at = now();
    const number = await this.#dependencies.database.write((sql) => {
      if (ctx.lease !== undefined) requireLease(sql, ctx.namespace, ctx.lease);
      const { changes } = sql.run(
        `INSERT OR IGNORE INTO mounts (namespace, name, boot, lease, state, active, system, labels, created_at, updated_at)
         VALUES (?, ?, ?, ?, 'activating', '[]', '[]', ?, ?, ?)`,
        ctx.namespace,
        name,
        boot,
        ctx.lease ?? null,
        JSON.stringify(kept),
        at,
        at,
      );
      if (changes === 0) throw taken(`mount ${JSON.stringify(name)}: already exists`);
      ensureNamespace(sql, ctx.namespace);
      return integer(sql.get('SELECT last_insert_rowid() AS number') as Row, 'number');
    });
    this.#dependencies.changes.written();
    return number;
  }

  async complete(number: number, active: readonly ActiveMount[], system: readonly Mount[]): Promise<void> {
    const { changes } = await this.#dependencies.database.write((sql) =>
      sql.run(
        "UPDATE mounts SET state = 'active', active = ?, system = ?, updated_at = ? WHERE number = ?",
        JSON.stringify(active.map(({ mountedAt, ...rest }) => ({ ...rest, mountedAt: String(mountedAt) }))),
        JSON.stringify(system),
        now(),
        number,
      ),
    );
    if (changes === 0) throw mountNotFound(String(number));
    this.#dependencies.changes.written();
  }

  /** Gives the name free. Errors: NotFound, also while it is being activated. */
  async remove(ctx: NamespacedContext, name: string): Promise<MountRecord> {
    const record = await this.#dependencies.database.write((sql) => {
      const row = sql.get(
        "SELECT * FROM mounts WHERE namespace = ? AND name = ? AND state = 'active'",
        ctx.namespace,
        name,
      );
      if (row === undefined) throw mountNotFound(name);
      sql.run('DELETE FROM mounts WHERE number = ?', integer(row, 'number'));
      return recordOf(row);
    });
    this.#dependencies.changes.deleted();
    return record;
  }

  /** Not an error when it is gone. */
  async forget(number: number): Promise<void> {
    await this.#dependencies.database.write((sql) => sql.run('DELETE FROM mounts WHERE number = ?', number));
  }

  /** Errors: NotFound. */
  get(ctx: NamespacedContext, name: string): Activation {
    const row = this.#dependencies.database.read((sql) =>
      sql.get(
        "SELECT * FROM mounts WHERE namespace = ? AND name = ? AND state = 'active'",
        ctx.namespace,
        name,
      ),
    );
    if (row === undefined) throw mountNotFound(name);
    return recordOf(row).activation;
  }

  /** Errors: InvalidArgument (filter). */
  list(ctx: NamespacedContext, filters: readonly string[]): Activation[] {
    const passes = parseFilters(filters);
    return this.#dependencies.database
      .read((sql) =>
        sql.all("SELECT * FROM mounts WHERE namespace = ? AND state = 'active' ORDER BY name", ctx.namespace),
      )
      .map((row) => recordOf(row).activation)
      .filter((activation) => passes((path) => fieldOf(activation, path)));
  }

  /** Of all namespaces, whatever their state. */
  records(): MountRecord[] {
    return this.#dependencies.database
      .read((sql) => sql.all('SELECT * FROM mounts ORDER BY number'))
      .map(recordOf);
  }

  /** For collection. */
  objects(): CollectibleObject[] {
    return this.#dependencies.database
      .read((sql) => sql.all('SELECT namespace, name, lease, state, labels FROM mounts'))
      .map((row) => {
        const isRoot = text(row, 'state') === 'activating';
        return {
          namespace: text(row, 'namespace'),
          id: text(row, 'name'),
          isRoot,
          lease: isRoot ? undefined : textOrUndefined(row, 'lease'),
          labels: labels(row),
        };
      });
  }

  readonly removal = ({ namespace, id }: CollectibleObject): readonly [string, ...string[]] => [
    "DELETE FROM mounts WHERE namespace = ? AND name = ? AND state = 'active'",
    namespace,
    id,
  ];
}

function recordOf(row: Row): MountRecord {
  const active = JSON.parse(text(row, 'active')) as (Omit<ActiveMount, 'mountedAt'> & {
    mountedAt: string;
  })[];
  return {
    number: integer(row, 'number'),
    namespace: text(row, 'namespace'),
    name: text(row, 'name'),
    boot: text(row, 'boot'),
    isComplete: text(row, 'state') === 'active',
    activation: {
      name: text(row, 'name'),
      active: active.map(({ mountedAt, ...rest }) => ({ ...rest, mountedAt: instantOf(mountedAt) })),
      system: JSON.parse(text(row, 'system')) as Mount[],
      labels: labels(row),
    },
  };
}

const instantOf = (digits: string): Instant => instantOfNs(BigInt(digits));

function fieldOf({ name, labels: given }: Activation, path: readonly string[]): string | undefined {
  if (path[0] === 'name' && path.length === 1) return name;
  return path[0] === 'labels' ? mapField(given, path) : undefined;
}
