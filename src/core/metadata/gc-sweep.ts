/** What collection takes out of the database, and the taking out: one transaction, however long. */

import type { Collectible, CollectibleObject } from '../gc/collectible.ts';
import { breathMs } from '../gc/reachability.ts';
import type { Sql, WriteInSteps, WriteOnce } from './database.ts';

export interface Garbage {
  readonly leases: readonly { namespace: string; id: string }[];
  readonly images: readonly { namespace: string; name: string }[];
  readonly content: readonly { namespace: string; digest: string }[];
  readonly ingests: readonly { namespace: string; ref: string }[];
  readonly snapshots: readonly { namespace: string; snapshotter: string; key: string }[];
  readonly collectibles: ReadonlyMap<Collectible, readonly CollectibleObject[]>;
}

type Removal = readonly [statement: string, ...key: string[]];

function* removals(garbage: Garbage): Generator<Removal> {
  for (const { namespace, id } of garbage.leases)
    yield ['DELETE FROM leases WHERE namespace = ? AND id = ?', namespace, id];
  for (const { namespace, name } of garbage.images)
    yield ['DELETE FROM images WHERE namespace = ? AND name = ?', namespace, name];
  for (const { namespace, digest } of garbage.content)
    yield ['DELETE FROM content WHERE namespace = ? AND digest = ?', namespace, digest];
  for (const { namespace, ref } of garbage.ingests)
    yield ['DELETE FROM ingests WHERE namespace = ? AND ref = ?', namespace, ref];
  for (const { namespace, snapshotter, key } of garbage.snapshots)
    yield [
      'DELETE FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?',
      namespace,
      snapshotter,
      key,
    ];
  for (const [collectible, objects] of garbage.collectibles)
    for (const object of objects) {
      const removal = collectible.removal?.(object);
      if (removal !== undefined) yield removal;
    }
}

export const countOf = ({ collectibles, ...rows }: Garbage): number =>
  [...Object.values(rows), ...collectibles.values()].reduce((sum, list) => sum + list.length, 0);

/** Up to so many rows go at once: a connection of its own costs more than they do. */
const smallSweepRows = 200;

export async function sweep(
  garbage: Garbage,
  { writeOnce, writeInSteps }: { writeOnce: WriteOnce; writeInSteps: WriteInSteps },
): Promise<void> {
  const rows = countOf(garbage);
  if (rows === 0) return;
  const left = removals(garbage);
  /** False when none is left. */
  const removeFor = (sql: Sql, durationMs: number): boolean => {
    const end = performance.now() + durationMs;
    for (let next = left.next(); next.done !== true; next = left.next()) {
      sql.run(...next.value);
      if (performance.now() > end) return true;
    }
    return false;
  };
  if (rows <= smallSweepRows) writeOnce((sql) => removeFor(sql, Number.POSITIVE_INFINITY));
  else await writeInSteps((sql) => removeFor(sql, breathMs));
}
