/**
 * The check of everything on disk against the database, finding by finding, and its repair.
 *
 *   database ─ content ─ ingests ─ snapshots ─ images ─ containers ─ leases ─ bundles ─ collection
 *
 * It runs beside the daemon's work: what it finds is looked at again under the locks that writers hold, so nothing that
 * is on its way is told about or touched. Orphans are never removed here but by the collector, which knows who writes.
 * Images are read anew after content was mended. One check runs at a time.
 */
import type { Context } from '../../base/context.ts';
import { ContainerdError, failedPrecondition, unavailable } from '../../base/errors.ts';
import type { MetadataStore } from '../metadata/metadata.ts';
import type { Registry } from '../registry/registry.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import { ContentCheck } from './check-content.ts';
import { checkIngests } from './check-ingests.ts';
import { ReferenceCheck } from './check-references.ts';
import { corrupt, SnapshotCheck } from './check-snapshots.ts';
import { checkState, type StateCheckDependencies } from './check-state.ts';
import { ContentRepair } from './content-repair.ts';
import type { DigestMode } from './digest-sample.ts';
import type { Problem, ReportedFinding } from './finding.ts';
import { type Counts, Tally } from './tally.ts';
import { Users } from './users.ts';

export interface StoreCheckerDependencies extends StateCheckDependencies {
  readonly store: MetadataStore;
  /** The back ends by name, as the store was made from them. */
  readonly backends: ReadonlyMap<string, Snapshotter>;
  readonly registry: Registry;
  /** Runs a collection and waits for it. */
  readonly collect: (ctx: Context) => Promise<void>;
}

export interface StoreCheckerOptions {
  /** Where bundles are; undefined when there is no runtime. */
  readonly bundleRoot: string | undefined;
}

export interface CheckRequest {
  readonly digests: DigestMode;
  /** Chooses the sample. */
  readonly seed: number;
  readonly repair: boolean;
  readonly defaultScheme?: 'http' | 'https';
}

export interface CheckSummary {
  readonly counts: Counts;
  /** Damage and leftovers that were not repaired. */
  readonly left: number;
  readonly repaired: number;
  readonly notices: number;
}

export type CheckEvent =
  | { readonly phase: string }
  | { readonly finding: ReportedFinding }
  | { readonly summary: CheckSummary };

export class StoreChecker {
  readonly #deps: StoreCheckerDependencies;
  readonly #options: StoreCheckerOptions;
  #running = false;

  constructor(dependencies: StoreCheckerDependencies, options: StoreCheckerOptions) {
    this.#deps = dependencies;
    this.#options = options;
  }

  /** The summary comes last. Errors: Unavailable while another check runs, Canceled, those of the disk. */
  async *check(ctx: Context, request: CheckRequest): AsyncGenerator<CheckEvent> {
    if (this.#running) throw unavailable('a check is running already: wait for its end');
    this.#running = true;
    try {
      yield* this.#run(ctx, request);
    } finally {
      this.#running = false;
    }
  }

  async *#run(ctx: Context, request: CheckRequest): AsyncGenerator<CheckEvent> {
    const { store, backends, registry } = this.#deps;
    const tally = new Tally();
    const { defaultScheme } = request;
    const repair = new ContentRepair(
      { blobs: store.contentStore, registry, blobGate: store.blobGate },
      defaultScheme === undefined ? {} : { defaultScheme },
    );
    const held: Problem[] = [];
    const outcomes = { left: 0, repaired: 0, notices: 0 };
    const report = (phase: string, problems: AsyncIterable<Problem> | Iterable<Problem>) =>
      reported(ctx, { phase, problems, request, held, outcomes });

    yield* report('database', databaseProblems(store));
    const users = await Users.read(store, ctx);
    const content = new ContentCheck(
      { store, users, repair, tally },
      { digests: { mode: request.digests, seed: request.seed } },
    );
    yield* report('content', content.records(ctx));
    yield* report('ingests', checkIngests({ store, tally }, ctx));
    yield* report('snapshots', new SnapshotCheck({ store, backends, users, tally }).run(ctx));
    const mended = await Users.read(store, ctx);
    const references = new ReferenceCheck({ store, users: mended, repair, tally });
    yield* report('images', references.images());
    yield* report('containers', references.containers(ctx));
    yield* report('leases', references.leases(ctx));
    const { bundleRoot } = this.#options;
    if (bundleRoot !== undefined) yield* report('bundles', checkState(this.#deps, ctx, bundleRoot));
    yield* report('orphans', content.orphans(ctx));
    if (request.repair) {
      await this.#deps.collect(ctx);
      yield* report('collection', held.map(afterCollection));
    }
    yield { summary: { counts: tally.counts(), ...outcomes } };
  }
}

interface Report {
  readonly phase: string;
  readonly problems: AsyncIterable<Problem> | Iterable<Problem>;
  readonly request: CheckRequest;
  /** Takes up what a repair leaves to the collection. */
  readonly held: Problem[];
  readonly outcomes: { left: number; repaired: number; notices: number };
}

async function* reported(ctx: Context, report: Report): AsyncGenerator<CheckEvent> {
  const { phase, problems, request, held, outcomes } = report;
  yield { phase };
  for await (const problem of problems) {
    if (request.repair && problem.isThere !== undefined) {
      held.push(problem);
      continue;
    }
    const finding = await settled(ctx, problem, request);
    if (finding.outcome === 'repaired') outcomes.repaired += 1;
    else if (finding.severity === 'notice') outcomes.notices += 1;
    else outcomes.left += 1;
    yield { finding };
  }
}

async function settled(
  ctx: Context,
  { finding, repair }: Problem,
  request: CheckRequest,
): Promise<ReportedFinding> {
  if (!request.repair) return { ...finding, outcome: 'found', detail: '' };
  if (repair === undefined) return { ...finding, outcome: 'left', detail: '' };
  try {
    const detail = await repair(ctx);
    ctx.log.warn({ kind: finding.kind, what: finding.what, detail }, 'repaired by a check');
    return { ...finding, outcome: 'repaired', detail };
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    return { ...finding, outcome: 'left', detail: ContainerdError.from(error).message };
  }
}

/** The collection was its repair. */
const afterCollection = ({ finding, isThere }: Problem): Problem => ({
  finding,
  repair: async (ctx) => {
    if (await isThere?.(ctx)) throw failedPrecondition('the collection left it: see the log of the daemon');
    return 'removed by a collection';
  },
});

function* databaseProblems({ database }: MetadataStore): Generator<Problem> {
  for (const problem of database.problems()) yield corrupt('metadata database', problem);
}
