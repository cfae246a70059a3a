/**
 * The database as the collector's graph: what is a root, what points at what, and what is garbage once it has marked.
 *
 * Everything is read in pages with pauses between them, so it must run while writes are held (Database.exclusive).
 */
import type { Labels } from '../../base/labels.ts';
import { labelOf } from '../../base/labels.ts';
import { type Instant, parseInstant } from '../../base/time.ts';
import { gcLabels } from '../gc/gc-labels.ts';
import { breather, type GcNode, type LabelEdges, labelEdges, mark, nodeOf } from '../gc/reachability.ts';
import { labels, text, textOrUndefined } from './columns.ts';
import type { Database, Row, Sql } from './database.ts';

/** What a sweep takes out. */
export interface Garbage {
  readonly leases: readonly { namespace: string; id: string }[];
  readonly images: readonly { namespace: string; name: string }[];
  readonly content: readonly { namespace: string; digest: string }[];
  readonly ingests: readonly { namespace: string; ref: string }[];
  readonly snapshots: readonly { namespace: string; snapshotter: string; key: string }[];
}

const pageRows = 1000;
const noNodes: readonly GcNode[] = [];

/** Errors: whatever the database says. */
export async function findGarbage(database: Database, at: Instant): Promise<Garbage> {
  const graph = new Graph(database, at);
  await graph.load();
  return graph.garbage(await mark(graph.roots, (node) => graph.edgesOf(node), graph.breathe));
}

export function sweep(sql: Sql, garbage: Garbage): void {
  for (const { namespace, id } of garbage.leases)
    sql.run('DELETE FROM leases WHERE namespace = ? AND id = ?', namespace, id);
  for (const { namespace, name } of garbage.images)
    sql.run('DELETE FROM images WHERE namespace = ? AND name = ?', namespace, name);
  for (const { namespace, digest } of garbage.content)
    sql.run('DELETE FROM content WHERE namespace = ? AND digest = ?', namespace, digest);
  for (const { namespace, ref } of garbage.ingests)
    sql.run('DELETE FROM ingests WHERE namespace = ? AND ref = ?', namespace, ref);
  for (const { namespace, snapshotter, key } of garbage.snapshots)
    sql.run(
      'DELETE FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?',
      namespace,
      snapshotter,
      key,
    );
}

class Graph {
  readonly roots = new Set<GcNode>();
  readonly breathe = breather();
  readonly #database: Database;
  readonly #at: Instant;
  readonly #edges = new Map<GcNode, GcNode[]>();
  /** By the plain node, for the flat kinds: a snapshot's parent, an image's target. */
  readonly #parents = new Map<GcNode, GcNode>();
  readonly #conditions: { from: GcNode; edges: LabelEdges['conditions'] }[] = [];
  readonly #usedAt = new Map<GcNode, Instant>();
  readonly #expiredLeases: { namespace: string; id: string }[] = [];
  readonly #expiredImages: { namespace: string; name: string }[] = [];

  constructor(database: Database, at: Instant) {
    this.#database = database;
    this.#at = at;
  }

  async load(): Promise<void> {
    await this.#loadLeases();
    await this.#loadImages();
    await this.#loadContent();
    await this.#loadSnapshots();
    await this.#loadContainers();
    for (const { from, edges } of this.#conditions)
      for (const { target, holds } of edges) {
        const usedAt = this.#usedAt.get(target);
        if (usedAt !== undefined && holds(usedAt)) this.#edge(from, target);
      }
  }

  edgesOf(node: GcNode): readonly GcNode[] {
    if (node.startsWith('snapshot-flat '))
      return this.#flat(node, 'snapshot-flat', 'snapshot', 'snapshot-flat');
    if (node.startsWith('image-flat ')) return this.#flat(node, 'image-flat', 'image', 'content-flat');
    return this.#edges.get(node) ?? noNodes;
  }

  async garbage(marked: ReadonlySet<GcNode>): Promise<Garbage> {
    const isMarked = (kind: 'content' | 'snapshot' | 'image', namespace: string, id: string): boolean =>
      marked.has(nodeOf(kind, namespace, id)) || marked.has(nodeOf(`${kind}-flat`, namespace, id));
    const content: { namespace: string; digest: string }[] = [];
    await this.#eachRow('content', 'namespace, digest', ['namespace', 'digest'], (row) => {
      const [namespace, digest] = [text(row, 'namespace'), text(row, 'digest')];
      if (!isMarked('content', namespace, digest)) content.push({ namespace, digest });
    });
    const snapshots: { namespace: string; snapshotter: string; key: string }[] = [];
    await this.#eachRow('snapshots', 'namespace, snapshotter, key', snapshotKey, (row) => {
      const [namespace, snapshotter, key] = [
        text(row, 'namespace'),
        text(row, 'snapshotter'),
        text(row, 'key'),
      ];
      if (!isMarked('snapshot', namespace, `${snapshotter}/${key}`))
        snapshots.push({ namespace, snapshotter, key });
    });
    const ingests: { namespace: string; ref: string }[] = [];
    await this.#eachRow('ingests', 'namespace, ref', ['namespace', 'ref'], (row) => {
      const [namespace, ref] = [text(row, 'namespace'), text(row, 'ref')];
      if (!marked.has(nodeOf('ingest', namespace, ref))) ingests.push({ namespace, ref });
    });
    const images = this.#expiredImages.filter(({ namespace, name }) => !isMarked('image', namespace, name));
    return { leases: this.#expiredLeases, images, content, ingests, snapshots };
  }

  async #loadLeases(): Promise<void> {
    const flat = new Map<string, boolean>();
    await this.#eachRow('leases', '*', ['namespace', 'id'], (row) => {
      const [namespace, id, given] = [text(row, 'namespace'), text(row, 'id'), labels(row)];
      if (this.#isExpired(given)) this.#expiredLeases.push({ namespace, id });
      else flat.set(`${namespace} ${id}`, labelOf(given, gcLabels.flat) !== undefined);
    });
    await this.#eachRow('lease_resources', '*', ['namespace', 'lease', 'type', 'id'], (row) => {
      const namespace = text(row, 'namespace');
      const isFlat = flat.get(`${namespace} ${text(row, 'lease')}`);
      if (isFlat !== undefined) this.#leaseResource(namespace, text(row, 'type'), text(row, 'id'), isFlat);
    });
    await this.#eachRow('ingests', '*', ['namespace', 'ref'], (row) => {
      const [namespace, expected] = [text(row, 'namespace'), textOrUndefined(row, 'expected')];
      const node = nodeOf('ingest', namespace, text(row, 'ref'));
      const expiresAt = row['expires_at'];
      if (typeof expiresAt === 'bigint' && expiresAt > this.#at) this.roots.add(node);
      if (expected !== undefined) this.#edge(node, nodeOf('content', namespace, expected));
    });
  }

  #leaseResource(namespace: string, type: string, id: string, flat: boolean): void {
    if (type === 'content') this.roots.add(nodeOf(flat ? 'content-flat' : 'content', namespace, id));
    else if (type === 'images') this.roots.add(nodeOf(flat ? 'image-flat' : 'image', namespace, id));
    else if (type === 'ingests') this.roots.add(nodeOf('ingest', namespace, id));
    else if (type.startsWith('snapshots/'))
      this.roots.add(
        nodeOf(flat ? 'snapshot-flat' : 'snapshot', namespace, `${type.slice('snapshots/'.length)}/${id}`),
      );
  }

  async #loadImages(): Promise<void> {
    await this.#eachRow('images', 'namespace, name, digest, labels', ['namespace', 'name'], (row) => {
      const [namespace, name, given] = [text(row, 'namespace'), text(row, 'name'), labels(row)];
      const node = nodeOf('image', namespace, name);
      if (this.#isExpired(given)) this.#expiredImages.push({ namespace, name });
      else this.roots.add(node);
      const content = nodeOf('content', namespace, text(row, 'digest'));
      this.#edge(node, content);
      this.#parents.set(node, content);
      this.#labels(node, namespace, given);
    });
  }

  async #loadContent(): Promise<void> {
    const visit = (row: Row): void => {
      const namespace = text(row, 'namespace');
      this.#labels(nodeOf('content', namespace, text(row, 'digest')), namespace, labels(row));
    };
    // Only labels of collection matter, and most layers have none: those rows are not parsed, nor even read.
    const where = `instr(labels, '"containerd.io/gc.') > 0`;
    await this.#eachRow('content', 'namespace, digest, labels', ['namespace', 'digest'], visit, where);
  }

  async #loadSnapshots(): Promise<void> {
    const columns = 'namespace, snapshotter, key, parent, labels, intent_key';
    await this.#eachRow('snapshots', columns, snapshotKey, (row) => {
      const [namespace, snapshotter] = [text(row, 'namespace'), text(row, 'snapshotter')];
      const node = nodeOf('snapshot', namespace, `${snapshotter}/${text(row, 'key')}`);
      const parent = textOrUndefined(row, 'parent');
      if (parent !== undefined) {
        const parentNode = nodeOf('snapshot', namespace, `${snapshotter}/${parent}`);
        this.#edge(node, parentNode);
        this.#parents.set(node, parentNode);
      }
      // A commit is under way: its caller has yet to hear of it.
      if (row['intent_key'] !== null) this.roots.add(node);
      this.#labels(node, namespace, labels(row));
    });
  }

  async #loadContainers(): Promise<void> {
    const columns = 'namespace, id, snapshotter, snapshot_key, labels';
    await this.#eachRow('containers', columns, ['namespace', 'id'], (row) => {
      const [namespace, snapshotter] = [text(row, 'namespace'), text(row, 'snapshotter')];
      const node = nodeOf('container', namespace, text(row, 'id'));
      this.roots.add(node);
      if (snapshotter !== '')
        this.#edge(node, nodeOf('snapshot', namespace, `${snapshotter}/${text(row, 'snapshot_key')}`));
      this.#labels(node, namespace, labels(row));
    });
    await this.#eachRow('sandboxes', 'namespace, id, labels', ['namespace', 'id'], (row) => {
      for (const node of labelEdges(text(row, 'namespace'), labels(row), this.#at).references)
        this.roots.add(node);
    });
  }

  #labels(node: GcNode, namespace: string, given: Labels): void {
    const { isRoot, references, backReferences, conditions, usedAt } = labelEdges(namespace, given, this.#at);
    // The label means nothing on the other kinds: containers are roots, images live by their name.
    if (isRoot && (node.startsWith('content ') || node.startsWith('snapshot '))) this.roots.add(node);
    for (const reference of references) this.#edge(node, reference);
    for (const parent of backReferences) this.#edge(parent, node);
    if (conditions.length > 0) this.#conditions.push({ from: node, edges: conditions });
    if (usedAt !== undefined) this.#usedAt.set(node, usedAt);
  }

  #edge(from: GcNode, to: GcNode): void {
    const edges = this.#edges.get(from);
    if (edges === undefined) this.#edges.set(from, [to]);
    else edges.push(to);
  }

  #flat(
    node: GcNode,
    kind: string,
    plain: 'snapshot' | 'image',
    to: 'snapshot-flat' | 'content-flat',
  ): GcNode[] {
    const parent = this.#parents.get(`${plain}${node.slice(kind.length)}` as GcNode);
    return parent === undefined ? [] : [`${to}${parent.slice(parent.indexOf(' '))}` as GcNode];
  }

  /** A time that does not parse does not expire. */
  #isExpired(given: Labels): boolean {
    const expire = labelOf(given, gcLabels.expire);
    const at = expire === undefined ? undefined : parseInstant(expire);
    return at !== undefined && at < this.#at;
  }

  /** Pages rather than a row at a time: an asynchronous step for each row costs more than the row. */
  async #eachRow(
    table: string,
    columns: string,
    key: readonly string[],
    visit: (row: Row) => void,
    where = 'TRUE',
  ): Promise<void> {
    const keyColumns = key.join(', ');
    const marks = key.map(() => '?').join(', ');
    // Texts of a key are never empty in their first column, so this stands before every row.
    let after = key.map(() => '');
    for (;;) {
      const page = this.#database.read((sql) =>
        sql.all(
          `SELECT ${columns} FROM ${table} WHERE (${keyColumns}) > (${marks}) AND ${where}
           ORDER BY ${keyColumns} LIMIT ${pageRows}`,
          ...after,
        ),
      );
      for (const row of page) visit(row);
      const last = page.at(-1);
      if (last === undefined || page.length < pageRows) return;
      after = key.map((column) => text(last, column));
      const pause = this.breathe();
      if (pause !== undefined) await pause;
    }
  }
}

const snapshotKey = ['namespace', 'snapshotter', 'key'] as const;
