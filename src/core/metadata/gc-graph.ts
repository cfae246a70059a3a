/**
 * The database as the collector's graph: what is a root, what points at what, and what is garbage once it has marked.
 *
 * Everything is read in pages with pauses between them, so it must be given one state: the database while writes are
 * held (Database.exclusive), or a snapshot of it. Leases and sandboxes are nodes of their own here, which containerd
 * does not need; they are what an explanation names.
 */
import { type Labels, labelOf } from '../../base/labels.ts';
import { type Instant, parseInstant } from '../../base/time.ts';
import type { Collectible, CollectibleObject } from '../gc/collectible.ts';
import { gcLabels } from '../gc/gc-labels.ts';
import { breather, flatOf, type GcNode, type LabelEdges, labelEdges, nodeOf } from '../gc/reachability.ts';
import { labels, text, textOrUndefined } from './columns.ts';
import type { Reader, Row } from './database.ts';
import { eachRow } from './gc-rows.ts';
import type { Garbage } from './gc-sweep.ts';

/** Hears why each edge and each root is one. The collector itself does not ask. */
export interface GraphWitness {
  edge(from: GcNode, to: GcNode, why: string): void;
  /** `until`: when it stops being one by itself. */
  root(node: GcNode, why: string, until?: Instant): void;
}

export interface GraphDependencies {
  readonly reader: Reader;
  readonly collectibles: readonly Collectible[];
  readonly witness?: GraphWitness;
}

const noNodes: readonly GcNode[] = [];
const snapshotKey = ['namespace', 'snapshotter', 'key'] as const;

export class GcGraph {
  readonly roots = new Set<GcNode>();
  readonly breathe = breather();
  readonly #reader: Reader;
  readonly #witness: GraphWitness | undefined;
  readonly #objects: ReadonlyMap<Collectible, readonly CollectibleObject[]>;
  readonly #kinds: ReadonlySet<string>;
  readonly #at: Instant;
  readonly #edges = new Map<GcNode, GcNode[]>();
  /** By the plain node, for the flat kinds: a snapshot's parent, an image's target. */
  readonly #parents = new Map<GcNode, GcNode>();
  readonly #conditions: { from: GcNode; edges: LabelEdges['conditions'] }[] = [];
  readonly #usedAt = new Map<GcNode, Instant>();
  readonly #expiredLeases: { namespace: string; id: string }[] = [];
  readonly #expiredImages: { namespace: string; name: string }[] = [];

  /** Collectibles are read here: as long as nobody else has had a turn, that is the reader's state. */
  constructor({ reader, collectibles, witness }: GraphDependencies, { at }: { at: Instant }) {
    this.#reader = reader;
    this.#witness = witness;
    this.#objects = new Map(collectibles.map((collectible) => [collectible, collectible.objects()]));
    this.#kinds = new Set(collectibles.map(({ kind }) => kind));
    this.#at = at;
  }

  async load(): Promise<void> {
    await this.#loadLeases();
    await this.#loadImages();
    await this.#loadContent();
    await this.#loadSnapshots();
    await this.#loadContainers();
    this.#loadCollectibles();
    for (const { from, edges } of this.#conditions)
      for (const { target, label, holds } of edges) {
        const usedAt = this.#usedAt.get(target);
        if (usedAt !== undefined && holds(usedAt)) this.#edge(from, target, `label ${label}`);
      }
  }

  edgesOf(node: GcNode): readonly GcNode[] {
    if (node.startsWith('snapshot-flat '))
      return this.#flat(node, 'snapshot-flat', 'snapshot', 'snapshot-flat');
    if (node.startsWith('image-flat ')) return this.#flat(node, 'image-flat', 'image', 'content-flat');
    return this.#edges.get(node) ?? noNodes;
  }

  async garbage(marked: ReadonlySet<GcNode>): Promise<Garbage> {
    const isMarked = (kind: string, namespace: string, id: string): boolean =>
      marked.has(nodeOf(kind, namespace, id)) || marked.has(nodeOf(`${kind}-flat`, namespace, id));
    const content: { namespace: string; digest: string }[] = [];
    await this.#eachRow('content', 'namespace, digest', ['namespace', 'digest'], (row) => {
      const [namespace, digest] = [text(row, 'namespace'), text(row, 'digest')];
      if (!isMarked('content', namespace, digest)) content.push({ namespace, digest });
    });
    const snapshots: { namespace: string; snapshotter: string; key: string }[] = [];
    await this.#eachRow('snapshots', 'namespace, snapshotter, key', snapshotKey, (row) => {
      const [namespace, snapshotter] = [text(row, 'namespace'), text(row, 'snapshotter')];
      const key = text(row, 'key');
      if (!isMarked('snapshot', namespace, `${snapshotter}/${key}`))
        snapshots.push({ namespace, snapshotter, key });
    });
    const ingests: { namespace: string; ref: string }[] = [];
    await this.#eachRow('ingests', 'namespace, ref', ['namespace', 'ref'], (row) => {
      const [namespace, ref] = [text(row, 'namespace'), text(row, 'ref')];
      if (!marked.has(nodeOf('ingest', namespace, ref))) ingests.push({ namespace, ref });
    });
    const images = this.#expiredImages.filter(({ namespace, name }) => !isMarked('image', namespace, name));
    const collectibles = new Map(
      Array.from(this.#objects, ([collectible, objects]) => [
        collectible,
        objects.filter(({ namespace, id }) => !marked.has(nodeOf(collectible.kind, namespace, id))),
      ]),
    );
    return { leases: this.#expiredLeases, images, content, ingests, snapshots, collectibles };
  }

  async #loadLeases(): Promise<void> {
    const flat = new Map<GcNode, boolean>();
    await this.#eachRow('leases', '*', ['namespace', 'id'], (row) => {
      const [namespace, id, given] = [text(row, 'namespace'), text(row, 'id'), labels(row)];
      const node = nodeOf('lease', namespace, id);
      const until = expiryOf(given);
      if (this.#isPast(until)) {
        this.#expiredLeases.push({ namespace, id });
        return;
      }
      this.#root(node, until === undefined ? 'a lease without expiry' : 'a lease', until);
      flat.set(node, labelOf(given, gcLabels.flat) !== undefined);
    });
    await this.#eachRow('lease_resources', '*', ['namespace', 'lease', 'type', 'id'], (row) => {
      const lease = nodeOf('lease', text(row, 'namespace'), text(row, 'lease'));
      const isFlat = flat.get(lease);
      const resource = leaseResource(row, isFlat === true);
      if (isFlat !== undefined && resource !== undefined)
        this.#edge(lease, resource, 'a resource of the lease');
    });
    await this.#eachRow('ingests', '*', ['namespace', 'ref'], (row) => {
      const [namespace, expected] = [text(row, 'namespace'), textOrUndefined(row, 'expected')];
      const node = nodeOf('ingest', namespace, text(row, 'ref'));
      const expiresAt = row['expires_at'];
      if (typeof expiresAt === 'bigint' && expiresAt > this.#at)
        this.#root(node, 'an upload that may be resumed', expiresAt as Instant);
      if (expected !== undefined)
        this.#edge(node, nodeOf('content', namespace, expected), 'what the upload is to become');
    });
  }

  async #loadImages(): Promise<void> {
    await this.#eachRow('images', 'namespace, name, digest, labels', ['namespace', 'name'], (row) => {
      const [namespace, name, given] = [text(row, 'namespace'), text(row, 'name'), labels(row)];
      const node = nodeOf('image', namespace, name);
      const until = expiryOf(given);
      if (this.#isPast(until)) this.#expiredImages.push({ namespace, name });
      else this.#root(node, 'an image', until);
      const content = nodeOf('content', namespace, text(row, 'digest'));
      this.#edge(node, content, 'the target of the image');
      this.#parents.set(node, content);
      this.#witness?.edge(flatOf(node), flatOf(content), 'the target of the image');
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
        this.#edge(node, parentNode, 'the parent of the snapshot');
        this.#parents.set(node, parentNode);
        this.#witness?.edge(flatOf(node), flatOf(parentNode), 'the parent of the snapshot');
      }
      // A commit is under way: its caller has yet to hear of it.
      if (row['intent_key'] !== null) this.#root(node, 'a snapshot that is being committed');
      this.#labels(node, namespace, labels(row));
    });
  }

  async #loadContainers(): Promise<void> {
    const columns = 'namespace, id, snapshotter, snapshot_key, labels';
    await this.#eachRow('containers', columns, ['namespace', 'id'], (row) => {
      const [namespace, snapshotter] = [text(row, 'namespace'), text(row, 'snapshotter')];
      const node = nodeOf('container', namespace, text(row, 'id'));
      this.#root(node, 'a container');
      const key = nodeOf('snapshot', namespace, `${snapshotter}/${text(row, 'snapshot_key')}`);
      if (snapshotter !== '') this.#edge(node, key, 'the root file system of the container');
      this.#labels(node, namespace, labels(row));
    });
    await this.#eachRow('sandboxes', 'namespace, id, labels', ['namespace', 'id'], (row) => {
      const namespace = text(row, 'namespace');
      const sandbox = nodeOf('sandbox', namespace, text(row, 'id'));
      this.#root(sandbox, 'a sandbox');
      for (const { node, label } of labelEdges(namespace, labels(row), this.#at, this.#kinds).references)
        this.#edge(sandbox, node, `label ${label}`);
    });
  }

  #loadCollectibles(): void {
    for (const [{ kind }, objects] of this.#objects)
      for (const { namespace, id, isRoot, lease, labels: given } of objects) {
        const node = nodeOf(kind, namespace, id);
        if (lease !== undefined) this.#edge(nodeOf('lease', namespace, lease), node, 'made under the lease');
        else if (isRoot) this.#root(node, `a ${kind} in use`);
        for (const { node: parent, label } of labelEdges(namespace, given, this.#at, this.#kinds)
          .backReferences)
          this.#edge(parent, node, `label ${label} of the ${kind}`);
      }
  }

  #labels(node: GcNode, namespace: string, given: Labels): void {
    const found = labelEdges(namespace, given, this.#at, this.#kinds);
    // The label means nothing on the other kinds: containers are roots, images live by their name.
    if (found.isRoot && (node.startsWith('content ') || node.startsWith('snapshot ')))
      this.#root(node, `label ${gcLabels.root}`);
    for (const { node: reference, label } of found.references) this.#edge(node, reference, `label ${label}`);
    for (const { node: parent, label } of found.backReferences)
      this.#edge(parent, node, `label ${label} of what it keeps`);
    if (found.conditions.length > 0) this.#conditions.push({ from: node, edges: found.conditions });
    if (found.usedAt !== undefined) this.#usedAt.set(node, found.usedAt);
  }

  #root(node: GcNode, why: string, until?: Instant): void {
    this.roots.add(node);
    this.#witness?.root(node, why, until);
  }

  #edge(from: GcNode, to: GcNode, why: string): void {
    const edges = this.#edges.get(from);
    if (edges === undefined) this.#edges.set(from, [to]);
    else edges.push(to);
    this.#witness?.edge(from, to, why);
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

  #isPast(until: Instant | undefined): boolean {
    return until !== undefined && until < this.#at;
  }

  #eachRow(
    table: string,
    columns: string,
    key: readonly string[],
    visit: (row: Row) => void,
    where?: string,
  ): Promise<void> {
    return eachRow(this.#reader, { table, columns, key, where }, visit, this.breathe);
  }
}

/** A time that does not parse does not expire. */
export function expiryOf(given: Labels): Instant | undefined {
  const expire = labelOf(given, gcLabels.expire);
  return expire === undefined ? undefined : parseInstant(expire);
}

function leaseResource(row: Row, isFlat: boolean): GcNode | undefined {
  const [namespace, type, id] = [text(row, 'namespace'), text(row, 'type'), text(row, 'id')];
  const kind = (plain: string): string => (isFlat ? `${plain}-flat` : plain);
  if (type === 'content') return nodeOf(kind('content'), namespace, id);
  if (type === 'images') return nodeOf(kind('image'), namespace, id);
  if (type === 'ingests') return nodeOf('ingest', namespace, id);
  return type.startsWith('snapshots/')
    ? nodeOf(kind('snapshot'), namespace, `${type.slice('snapshots/'.length)}/${id}`)
    : undefined;
}
