/**
 * Why an object is still there: the roots that reach it and the shortest chain from one of them, by the very graph that
 * collection marks. It reads one state of the database and holds nobody back.
 */
import type { NamespacedContext } from '../../base/context.ts';
import { invalidArgument, notFound } from '../../base/errors.ts';
import { type Instant, now } from '../../base/time.ts';
import { findObjects, type ObjectQuery } from '../metadata/gc-find.ts';
import { GcGraph, type GraphWitness } from '../metadata/gc-graph.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import { breather, flatOf, type GcNode, type NodeParts, partsOf } from './reachability.ts';

export interface Link {
  readonly object: NodeParts;
  /** What the one before says of it; of the first, why it is a root. */
  readonly why: string;
}

export interface HoldingRoot {
  readonly object: NodeParts;
  readonly why: string;
  readonly expiresAt: Instant | undefined;
}

export interface Explanation {
  readonly object: NodeParts;
  /** From a root to the object; empty when nothing keeps it. */
  readonly chain: readonly Link[];
  /** Those that do not expire first, then by their distance. */
  readonly roots: readonly HoldingRoot[];
}

/** The graph against the direction of its edges. */
class Holders implements GraphWitness {
  readonly edges = new Map<GcNode, { readonly from: GcNode; readonly why: string }[]>();
  readonly roots = new Map<GcNode, { readonly why: string; readonly until: Instant | undefined }>();

  edge(from: GcNode, to: GcNode, why: string): void {
    const edges = this.edges.get(to);
    if (edges === undefined) this.edges.set(to, [{ from, why }]);
    else edges.push({ from, why });
  }

  root(node: GcNode, why: string, until?: Instant): void {
    const before = this.roots.get(node);
    // One that is a root for two reasons expires with the later of them.
    const stays =
      before !== undefined && (before.until === undefined || (until !== undefined && before.until > until));
    if (!stays) this.roots.set(node, { why, until });
  }
}

const kinds: readonly string[] = ['content', 'snapshot', 'image', 'container', 'sandbox', 'lease', 'ingest'];

/** Errors: NotFound when nothing has that name, InvalidArgument (name, kind). */
export async function explain(
  store: MetadataStore,
  ctx: NamespacedContext,
  { name, kind }: ObjectQuery,
): Promise<Explanation[]> {
  const { collectibles } = store;
  const known = [...kinds, ...collectibles.map((each) => each.kind)];
  if (name === '') throw invalidArgument('name what to explain');
  if (kind !== undefined && !known.includes(kind))
    throw invalidArgument(`kind must be one of ${known.join(', ')}, not ${JSON.stringify(kind)}`);
  return store.database.snapshot(async (reader) => {
    const objects = findObjects(reader, collectibles, ctx.namespace, { name, kind });
    if (objects.length === 0) throw notFound(kind ?? 'object', name);
    const witness = new Holders();
    await new GcGraph({ reader, collectibles, witness }, { at: now() }).load();
    const explanations: Explanation[] = [];
    for (const object of objects) explanations.push(await explainOne(object, witness));
    return explanations;
  });
}

/** By how the walk came to a node: the next one on the way to the object. */
type Steps = ReadonlyMap<GcNode, { readonly to: GcNode; readonly why: string } | undefined>;

async function explainOne(object: GcNode, { edges, roots }: Holders): Promise<Explanation> {
  const breathe = breather();
  const steps = new Map<GcNode, { to: GcNode; why: string } | undefined>([
    [object, undefined],
    [flatOf(object), undefined],
  ]);
  const found: GcNode[] = [];
  // A map's iteration takes in what is added meanwhile: nearest first.
  for (const node of steps.keys()) {
    const pause = breathe();
    if (pause !== undefined) await pause;
    if (roots.has(node)) found.push(node);
    for (const { from, why } of edges.get(node) ?? [])
      if (!steps.has(from)) steps.set(from, { to: node, why });
  }
  const expires = (node: GcNode): boolean => roots.get(node)?.until !== undefined;
  const holding = [...found.filter((node) => !expires(node)), ...found.filter(expires)];
  const [first] = holding;
  return {
    object: partsOf(object),
    chain: first === undefined ? [] : chainOf(first, roots.get(first)?.why ?? '', steps),
    roots: holding.map((node) => ({
      object: partsOf(node),
      why: roots.get(node)?.why ?? '',
      expiresAt: roots.get(node)?.until,
    })),
  };
}

function chainOf(root: GcNode, why: string, steps: Steps): Link[] {
  const chain: Link[] = [{ object: partsOf(root), why }];
  for (let step = steps.get(root); step !== undefined; step = steps.get(step.to))
    chain.push({ object: partsOf(step.to), why: step.why });
  return chain;
}
