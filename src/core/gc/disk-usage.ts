/**
 * What uses the disk: the size of everything that collection knows, by what holds it.
 *
 * A holder (image, container, lease, …) needs what its node reaches in the graph of collection. Blobs are one file for
 * all namespaces, so a blob is shared as soon as two holders anywhere reach it. What snapshots take is asked of their
 * back ends, who know it of what is committed; only writable layers are walked.
 */
import type { Context } from '../../base/context.ts';
import { withNamespace } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import type { Namespace, SnapshotKey } from '../../base/identifiers.ts';
import { now } from '../../base/time.ts';
import { type DiskRows, readDiskRows, type SnapshotRow } from '../metadata/disk-rows.ts';
import { GcGraph } from '../metadata/gc-graph.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import { breather, type GcNode, mark, nodeOf, partsOf } from './reachability.ts';

export interface UsageEntry {
  readonly kind: string;
  readonly namespace: string;
  readonly id: string;
  readonly contentBytes: number;
  readonly snapshotBytes: number;
  readonly sharedBytes: number;
  readonly uniqueBytes: number;
  /** Of content and snapshots. */
  readonly holders: number;
  readonly isGarbage: boolean;
  /** A writable layer that was not walked, or whose snapshotter is not loaded. */
  readonly isUnknown: boolean;
}

export interface UsageTotals {
  readonly content: { readonly count: number; readonly bytes: number };
  readonly snapshots: { readonly count: number; readonly bytes: number };
  readonly ingests: { readonly count: number; readonly bytes: number };
  readonly garbageBytes: number;
}

export interface UsageRequest {
  /** Undefined tells of all. */
  readonly namespace: Namespace | undefined;
  readonly skipWalks: boolean;
}

export interface DiskUsage {
  readonly entries: readonly UsageEntry[];
  readonly totals: UsageTotals;
}

/** A blob or a snapshot. */
interface Unit {
  readonly kind: 'content' | 'snapshot';
  readonly bytes: number;
  holders: number;
  isUnknown: boolean;
}

export async function diskUsage(
  store: MetadataStore,
  ctx: Context,
  { namespace, skipWalks }: UsageRequest,
): Promise<DiskUsage> {
  const isTold = (each: { readonly namespace: string }): boolean =>
    namespace === undefined || each.namespace === namespace;
  const { rows, reaches, marked } = await store.database.snapshot(async (reader) => {
    const breathe = breather();
    const graph = new GcGraph({ reader, collectibles: store.collectibles }, { at: now() });
    await graph.load();
    const edges = (node: GcNode): readonly GcNode[] => graph.edgesOf(node);
    const found: { root: GcNode; nodes: ReadonlySet<GcNode> }[] = [];
    for (const root of graph.roots) found.push({ root, nodes: await mark([root], edges, breathe) });
    return {
      rows: await readDiskRows(reader, breathe),
      reaches: found,
      marked: await mark(graph.roots, edges, breathe),
    };
  });
  const units = await unitsOf(store, ctx, rows, { isTold, skipWalks });
  for (const { nodes } of reaches) for (const unit of reachedUnits(nodes, units)) unit.holders += 1;
  const holders = reaches
    .map(({ root, nodes }) => ({ object: partsOf(root), nodes }))
    .filter(({ object }) => isTold(object) && object.kind !== 'content' && object.kind !== 'snapshot')
    .map(({ object, nodes }) => holderEntry(object, reachedUnits(nodes, units)));
  const isKept = (kind: string, ns: string, id: string): boolean =>
    marked.has(nodeOf(kind, ns, id)) || marked.has(nodeOf(`${kind}-flat`, ns, id));
  const things = [
    ...rows.snapshots.map((row) => ({ kind: 'snapshot' as const, namespace: row.namespace, id: idOf(row) })),
    ...rows.content.map((row) => ({ kind: 'content' as const, namespace: row.namespace, id: row.digest })),
  ]
    .filter(isTold)
    .map((each) => unitEntry(each, unitOf(units, each), !isKept(each.kind, each.namespace, each.id)));
  const ingests = await ingestEntries(
    store,
    ctx,
    rows,
    isTold,
    (ns, ref) => !marked.has(nodeOf('ingest', ns, ref)),
  );
  // An ingest that is a root has its own bytes beside what it holds.
  const entries = [...holders.filter(({ kind }) => kind !== 'ingest'), ...ingests, ...things];
  return { entries: entries.toSorted(byKindThenSize), totals: totalsOf(entries) };
}

const idOf = ({ snapshotter, key }: SnapshotRow): string => `${snapshotter}/${key}`;

/** Blobs of all namespaces are the same files. */
const unitKey = ({ kind, namespace, id }: { kind: string; namespace: string; id: string }): string =>
  kind === 'content' ? id : `${namespace} ${id}`;

interface Units {
  readonly byKey: ReadonlyMap<string, Unit>;
  /** A label may name a blob that its namespace does not have. */
  readonly content: ReadonlySet<GcNode>;
}

const unitOf = (
  { byKey, content }: Units,
  object: { readonly kind: string; readonly namespace: string; readonly id: string },
): Unit | undefined =>
  object.kind === 'content' && !content.has(nodeOf('content', object.namespace, object.id))
    ? undefined
    : byKey.get(unitKey(object));

async function unitsOf(
  store: MetadataStore,
  ctx: Context,
  rows: DiskRows,
  { isTold, skipWalks }: { isTold: (row: SnapshotRow) => boolean; skipWalks: boolean },
): Promise<Units> {
  const units = new Map<string, Unit>();
  for (const { digest, sizeBytes } of rows.content)
    units.set(digest, { kind: 'content', bytes: sizeBytes, holders: 0, isUnknown: false });
  const loaded = new Set(store.snapshotterNames());
  for (const row of rows.snapshots) {
    const isAsked = isTold(row) && loaded.has(row.snapshotter) && !(skipWalks && row.kind === 'active');
    const bytes = isAsked ? await usageOf(store, ctx, row) : undefined;
    units.set(unitKey({ kind: 'snapshot', namespace: row.namespace, id: idOf(row) }), {
      kind: 'snapshot',
      bytes: bytes ?? 0,
      holders: 0,
      isUnknown: bytes === undefined && isTold(row),
    });
  }
  const content = new Set(rows.content.map((row) => nodeOf('content', row.namespace, row.digest)));
  return { byKey: units, content };
}

/** Undefined when it has gone meanwhile, or is with a program that is not there. */
async function usageOf(store: MetadataStore, ctx: Context, row: SnapshotRow): Promise<number | undefined> {
  try {
    const within = withNamespace(ctx, row.namespace as Namespace);
    return (await store.snapshotter(row.snapshotter).usage(within, row.key as SnapshotKey)).sizeBytes;
  } catch (error) {
    if (hasCode(error, 'NotFound') || hasCode(error, 'Unavailable')) return undefined;
    throw error;
  }
}

/** Each once, although a node and its flat twin may both be reached. */
function reachedUnits(nodes: ReadonlySet<GcNode>, units: Units): ReadonlySet<Unit> {
  const reached = new Set<Unit>();
  for (const node of nodes) {
    const parts = partsOf(node);
    if (parts.kind !== 'content' && parts.kind !== 'snapshot') continue;
    const unit = unitOf(units, parts);
    if (unit !== undefined) reached.add(unit);
  }
  return reached;
}

function holderEntry(
  { kind, namespace, id }: { kind: string; namespace: string; id: string },
  reached: ReadonlySet<Unit>,
): UsageEntry {
  const sum = (of: (unit: Unit) => boolean): number =>
    [...reached].reduce((bytes, unit) => bytes + (of(unit) ? unit.bytes : 0), 0);
  return {
    kind,
    namespace,
    id,
    contentBytes: sum((unit) => unit.kind === 'content'),
    snapshotBytes: sum((unit) => unit.kind === 'snapshot'),
    sharedBytes: sum(({ holders }) => holders > 1),
    uniqueBytes: sum(({ holders }) => holders <= 1),
    holders: 0,
    isGarbage: false,
    isUnknown: [...reached].some(({ isUnknown }) => isUnknown),
  };
}

function unitEntry(
  object: { kind: 'content' | 'snapshot'; namespace: string; id: string },
  unit: Unit | undefined,
  isGarbage: boolean,
): UsageEntry {
  const bytes = unit?.bytes ?? 0;
  const holders = unit?.holders ?? 0;
  return {
    ...object,
    contentBytes: object.kind === 'content' ? bytes : 0,
    snapshotBytes: object.kind === 'snapshot' ? bytes : 0,
    sharedBytes: holders > 1 ? bytes : 0,
    uniqueBytes: holders > 1 ? 0 : bytes,
    holders,
    isGarbage,
    isUnknown: unit?.isUnknown ?? true,
  };
}

async function ingestEntries(
  store: MetadataStore,
  ctx: Context,
  rows: DiskRows,
  isTold: (row: { readonly namespace: string }) => boolean,
  isGarbage: (namespace: string, ref: string) => boolean,
): Promise<UsageEntry[]> {
  const entries: UsageEntry[] = [];
  for (const namespace of new Set(rows.ingests.filter(isTold).map((row) => row.namespace)))
    for (const { ref, offsetBytes } of await store.content.listStatuses(
      withNamespace(ctx, namespace as Namespace),
      [],
    ))
      entries.push({
        kind: 'ingest',
        namespace,
        id: ref,
        contentBytes: offsetBytes,
        snapshotBytes: 0,
        sharedBytes: 0,
        uniqueBytes: offsetBytes,
        holders: 0,
        isGarbage: isGarbage(namespace, ref),
        isUnknown: false,
      });
  return entries;
}

const order = ['image', 'container', 'sandbox', 'lease', 'mount', 'stream', 'ingest', 'snapshot', 'content'];
const totalOf = ({ contentBytes, snapshotBytes }: UsageEntry): number => contentBytes + snapshotBytes;

const byKindThenSize = (a: UsageEntry, b: UsageEntry): number =>
  order.indexOf(a.kind) - order.indexOf(b.kind) || totalOf(b) - totalOf(a) || (a.id < b.id ? -1 : 1);

/** A blob counts once, in however many namespaces it is; it goes when it is garbage in all that are told of. */
function totalsOf(entries: readonly UsageEntry[]): UsageTotals {
  const blobs = new Map<string, { bytes: number; isGarbage: boolean }>();
  for (const { kind, id, contentBytes, isGarbage } of entries)
    if (kind === 'content')
      blobs.set(id, { bytes: contentBytes, isGarbage: isGarbage && (blobs.get(id)?.isGarbage ?? true) });
  const tally = (items: readonly { bytes: number }[]) => ({
    count: items.length,
    bytes: items.reduce((sum, { bytes }) => sum + bytes, 0),
  });
  const of = (kind: string) =>
    entries
      .filter((entry) => entry.kind === kind)
      .map((entry) => ({ bytes: totalOf(entry), isGarbage: entry.isGarbage }));
  const [content, snapshots, ingests] = [[...blobs.values()], of('snapshot'), of('ingest')];
  return {
    content: tally(content),
    snapshots: tally(snapshots),
    ingests: tally(ingests),
    garbageBytes: tally([...content, ...snapshots, ...ingests].filter(({ isGarbage }) => isGarbage)).bytes,
  };
}
