/** Objects of collection by what people type. */
import type { Namespace } from '../../base/identifiers.ts';
import type { Collectible } from '../gc/collectible.ts';
import { type GcNode, nodeOf } from '../gc/reachability.ts';
import { text } from './columns.ts';
import type { Reader, Row, Sql } from './database.ts';

/** Of a beginning of a digest, and of an id. */
const leastPrefix = 6;
const mostMatches = 100;

export interface ObjectQuery {
  readonly name: string;
  /** Undefined looks at all of them. */
  readonly kind: string | undefined;
}

interface Finder {
  readonly kind: string;
  find(sql: Sql, namespace: Namespace, name: string): Row[];
  idOf(row: Row): string;
}

const limit = `LIMIT ${mostMatches}`;

/** By its whole name in that column. */
const byName = (kind: string, table: string, column: string): Finder => ({
  kind,
  find: (sql, namespace, name) =>
    sql.all(`SELECT ${column} AS id FROM ${table} WHERE namespace = ? AND ${column} = ?`, namespace, name),
  idOf: (row) => text(row, 'id'),
});

const finders: readonly Finder[] = [
  {
    kind: 'content',
    find: (sql, namespace, name) => {
      const [from, to] = digestRange(name);
      const select = `SELECT digest AS id FROM content WHERE namespace = ? AND digest >= ? AND digest <= ? ${limit}`;
      return sql.all(select, namespace, from, to);
    },
    idOf: (row) => text(row, 'id'),
  },
  {
    kind: 'snapshot',
    find: (sql, namespace, name) => {
      const [from, to] = digestRange(name);
      return sql.all(
        `SELECT snapshotter, key FROM snapshots
         WHERE namespace = ? AND ((key >= ? AND key <= ?) OR key = ? OR snapshotter || '/' || key = ?) ${limit}`,
        ...[namespace, from, to, name, name],
      );
    },
    idOf: (row) => `${text(row, 'snapshotter')}/${text(row, 'key')}`,
  },
  byName('image', 'images', 'name'),
  {
    kind: 'container',
    find: (sql, namespace, name) => {
      const to = name.length < leastPrefix ? name : `${name}\u{10ffff}`;
      return sql.all(
        `SELECT id FROM containers WHERE namespace = ? AND id >= ? AND id <= ? ${limit}`,
        ...[namespace, name, to],
      );
    },
    idOf: (row) => text(row, 'id'),
  },
  byName('sandbox', 'sandboxes', 'id'),
  byName('lease', 'leases', 'id'),
  byName('ingest', 'ingests', 'ref'),
];

/** Digests that begin so: from and to, both included. One that is no digest stands for itself. */
function digestRange(name: string): [string, string] {
  const hex = name.replace(/^sha256:/, '');
  if (hex.length < leastPrefix || !/^[0-9a-f]{1,64}$/.test(hex)) return [name, name];
  return [`sha256:${hex}`, `sha256:${hex.padEnd(64, 'f')}`];
}

/** Nothing when there is none of that name. */
export function findObjects(
  reader: Reader,
  collectibles: readonly Collectible[],
  namespace: Namespace,
  { name, kind }: ObjectQuery,
): GcNode[] {
  const isWanted = (each: { readonly kind: string }): boolean => kind === undefined || each.kind === kind;
  const rows = finders
    .filter(isWanted)
    .flatMap((finder) =>
      reader
        .read((sql) => finder.find(sql, namespace, name))
        .map((row) => nodeOf(finder.kind, namespace, finder.idOf(row))),
    );
  const others = collectibles
    .filter(isWanted)
    .filter((each) => each.objects().some((object) => object.namespace === namespace && object.id === name))
    .map((each) => nodeOf(each.kind, namespace, name));
  return [...rows, ...others];
}
