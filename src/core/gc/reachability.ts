/**
 * The graph that collection walks: nodes named by kind, namespace and id, edges by labels, and the marking.
 *
 * A node is the text `kind namespace id`; a snapshot's id is `snapshotter/key`. The flat kinds stand for what a flat
 * lease holds: themselves and, for snapshots, their parents, but nothing that labels point at.
 */
import { type Labels, labelOf } from '../../base/labels.ts';
import { type Instant, parseInstant } from '../../base/time.ts';
import { gcLabels } from './gc-labels.ts';

export type NodeKind =
  | 'content'
  | 'content-flat'
  | 'snapshot'
  | 'snapshot-flat'
  | 'image'
  | 'image-flat'
  | 'ingest'
  | 'container';

export type GcNode = `${NodeKind} ${string}`;

export const nodeOf = (kind: NodeKind, namespace: string, id: string): GcNode => `${kind} ${namespace} ${id}`;

export interface ConditionalEdge {
  readonly target: GcNode;
  readonly holds: (usedAt: Instant) => boolean;
}

/** What the labels of one object say. */
export interface LabelEdges {
  readonly isRoot: boolean;
  readonly references: readonly GcNode[];
  /** Objects that keep this one while they live. */
  readonly backReferences: readonly GcNode[];
  readonly conditions: readonly ConditionalEdge[];
  readonly usedAt: Instant | undefined;
}

/** Labels of unknown kinds or forms point at nothing. */
export function labelEdges(namespace: string, labels: Labels, at: Instant): LabelEdges {
  const references: GcNode[] = [];
  const backReferences: GcNode[] = [];
  const conditions: ConditionalEdge[] = [];
  for (const [key, value] of Object.entries(labels)) {
    if (key.startsWith(gcLabels.refPrefix)) {
      const node = target(namespace, key.slice(gcLabels.refPrefix.length), value);
      if (node !== undefined && !node.startsWith('container ')) references.push(node);
    } else if (key.startsWith(gcLabels.backRefPrefix)) {
      const node = target(namespace, key.slice(gcLabels.backRefPrefix.length), value);
      if (node !== undefined) backReferences.push(node);
    } else if (key.startsWith(gcLabels.conditionPrefix))
      conditions.push(...conditionalEdges(namespace, key.slice(gcLabels.conditionPrefix.length), value, at));
  }
  const usedAt = labelOf(labels, gcLabels.usedAt);
  return {
    isRoot: labelOf(labels, gcLabels.root) !== undefined,
    references,
    backReferences,
    conditions,
    usedAt: usedAt === undefined ? undefined : parseInstant(usedAt),
  };
}

/** `content[.x or /x]`, `image[.x or /x]`, `container[.x or /x]`, `snapshot.NAME[/x]`. */
function target(namespace: string, kindAndName: string, value: string): GcNode | undefined {
  const match = /^(?<kind>content|image|container|snapshot)(?:[./](?<rest>.*))?$/s.exec(kindAndName);
  const kind = match?.groups?.['kind'] as 'content' | 'image' | 'container' | 'snapshot' | undefined;
  if (kind === undefined) return undefined;
  if (kind !== 'snapshot') return nodeOf(kind, namespace, value);
  const snapshotter = /^snapshot\.(?<name>[^/]+)/.exec(kindAndName)?.groups?.['name'];
  return snapshotter === undefined ? undefined : nodeOf('snapshot', namespace, `${snapshotter}/${value}`);
}

const durationUnitsNs: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 6e10,
  h: 3.6e12,
};

/** A Go duration ("1h30m"); undefined for another form. */
function durationNs(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|\u00b5s|ms|s|m|h))+$/.test(text)) return undefined;
  let totalNs = 0;
  for (const [, count, unit] of text.matchAll(/(?<count>\d+(?:\.\d+)?)(?<unit>[a-z\u00b5]+)/g))
    totalNs += Number(count) * (durationUnitsNs[unit ?? ''] ?? 0);
  return totalNs;
}

/** `usedat<24h,usedat>1s|key`: any of the conditions makes the edge to `key`. */
function conditionalEdges(
  namespace: string,
  snapshotterAndName: string,
  value: string,
  at: Instant,
): ConditionalEdge[] {
  const bar = value.indexOf('|');
  const snapshotter = snapshotterAndName.split('/')[0] ?? '';
  if (bar < 0 || snapshotter === '') return [];
  const node = nodeOf('snapshot', namespace, `${snapshotter}/${value.slice(bar + 1)}`);
  return value
    .slice(0, bar)
    .split(',')
    .flatMap((condition) => {
      const match = /^usedat(?<operator>[<>])(?<duration>[^=].*)$/.exec(condition);
      const limitNs = durationNs(match?.groups?.['duration'] ?? '');
      if (limitNs === undefined) return [];
      const holds = (usedAt: Instant): boolean =>
        match?.groups?.['operator'] === '<' ? Number(at - usedAt) < limitNs : Number(at - usedAt) > limitNs;
      return [{ target: node, holds }];
    });
}

/** Everything that can be reached. `breathe` is called often and lets the event loop run now and then. */
export async function mark(
  roots: Iterable<GcNode>,
  edges: (node: GcNode) => Iterable<GcNode>,
  breathe: () => Promise<void> | undefined,
): Promise<Set<GcNode>> {
  const marked = new Set<GcNode>(roots);
  const grey = [...marked];
  for (let node = grey.pop(); node !== undefined; node = grey.pop()) {
    const pause = breathe();
    if (pause !== undefined) await pause;
    for (const next of edges(node)) {
      if (marked.has(next)) continue;
      marked.add(next);
      grey.push(next);
    }
  }
  return marked;
}

/** A breath at most every 10 ms, so that long walks do not hold the event loop. */
export function breather(): () => Promise<void> | undefined {
  let last = performance.now();
  return () => {
    if (performance.now() - last < 10) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        last = performance.now();
        resolve();
      });
    });
  };
}
