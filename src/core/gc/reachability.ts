/**
 * The graph that collection walks: nodes named by kind, namespace and id, edges by labels, and the marking.
 *
 * A node is the text `kind namespace id`: content, snapshot, image, ingest, container, sandbox, lease, or the kind of a
 * collectible (collectible.ts). A snapshot's id is `snapshotter/key`. The flat kinds stand for what a flat
 * lease holds: themselves and, for snapshots, their parents, but nothing that labels point at.
 */
import type { Brand } from '../../base/brand.ts';
import { type Labels, labelOf } from '../../base/labels.ts';
import { type Instant, parseInstant } from '../../base/time.ts';
import { gcLabels } from './gc-labels.ts';

/** The kinds that labels can name, whatever else there is. */
const labelKinds: ReadonlySet<string> = new Set(['content', 'image', 'container', 'snapshot']);

export type GcNode = Brand<string, 'GcNode'>;

export const nodeOf = (kind: string, namespace: string, id: string): GcNode =>
  `${kind} ${namespace} ${id}` as GcNode;

/** What a flat lease holds of the node. */
export const flatOf = (node: GcNode): GcNode => node.replace(' ', '-flat ') as GcNode;

export interface NodeParts {
  readonly kind: string;
  readonly namespace: string;
  readonly id: string;
}

/** A flat kind is told as the plain one. */
export function partsOf(node: GcNode): NodeParts {
  const first = node.indexOf(' ');
  const second = node.indexOf(' ', first + 1);
  return {
    kind: node.slice(0, first).replace(/-flat$/, ''),
    namespace: node.slice(first + 1, second),
    id: node.slice(second + 1),
  };
}

export interface ConditionalEdge {
  readonly target: GcNode;
  readonly label: string;
  readonly holds: (usedAt: Instant) => boolean;
}

/** A node with the label that names it. */
export interface LabelledNode {
  readonly node: GcNode;
  readonly label: string;
}

/** What the labels of one object say. */
export interface LabelEdges {
  readonly isRoot: boolean;
  readonly references: readonly LabelledNode[];
  /** Objects that keep this one while they live. */
  readonly backReferences: readonly LabelledNode[];
  readonly conditions: readonly ConditionalEdge[];
  readonly usedAt: Instant | undefined;
}

/** Labels of unknown kinds or forms point at nothing. `kinds` are those of collectibles. */
export function labelEdges(
  namespace: string,
  labels: Labels,
  at: Instant,
  kinds: ReadonlySet<string>,
): LabelEdges {
  const references: LabelledNode[] = [];
  const backReferences: LabelledNode[] = [];
  const conditions: ConditionalEdge[] = [];
  for (const [label, value] of Object.entries(labels)) {
    if (label.startsWith(gcLabels.refPrefix)) {
      const node = target(namespace, label.slice(gcLabels.refPrefix.length), value, kinds);
      if (node !== undefined && !node.startsWith('container ')) references.push({ node, label });
    } else if (label.startsWith(gcLabels.backRefPrefix)) {
      const node = target(namespace, label.slice(gcLabels.backRefPrefix.length), value, noKinds);
      if (node !== undefined) backReferences.push({ node, label });
    } else if (label.startsWith(gcLabels.conditionPrefix))
      conditions.push(...conditionalEdges(namespace, label, value, at));
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

const noKinds: ReadonlySet<string> = new Set();

/** `content[.x or /x]`, `image[.x or /x]`, `container[.x or /x]`, `snapshot.NAME[/x]`, `KIND[.x or /x]`. */
function target(
  namespace: string,
  kindAndName: string,
  value: string,
  kinds: ReadonlySet<string>,
): GcNode | undefined {
  const kind = /^[^./]+/.exec(kindAndName)?.[0];
  if (kind === undefined || !(labelKinds.has(kind) || kinds.has(kind))) return undefined;
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
function conditionalEdges(namespace: string, label: string, value: string, at: Instant): ConditionalEdge[] {
  const bar = value.indexOf('|');
  const snapshotter = label.slice(gcLabels.conditionPrefix.length).split('/')[0] ?? '';
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
      return [{ target: node, label, holds }];
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

/** What a walk does between two breaths. A call beside it takes several turns, so each must be short. */
export const breathMs = 2;

/** A breath whenever `breathMs` are over, so that long walks do not hold the event loop. */
export function breather(): () => Promise<void> | undefined {
  let last = performance.now();
  return () => {
    if (performance.now() - last < breathMs) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        last = performance.now();
        resolve();
      });
    });
  };
}
