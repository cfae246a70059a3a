/** Random graphs, collected, cut and collected again, beside a naive model that knows only which node holds which. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseImageName, parseLeaseId } from '../../base/identifiers.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import {
  blobs,
  commitSnapshot,
  contents,
  digestFor,
  image,
  past,
  put,
  snapshots,
} from './labelled-objects.fixture.ts';

/** The naive model: objects with plain links, alive when a root reaches them. */
interface Plan {
  readonly contents: readonly { readonly refs: readonly number[]; readonly root: boolean }[];
  readonly snapshots: readonly { readonly parent: number; readonly ref: number; readonly back: number }[];
  readonly images: readonly { readonly target: number; readonly expired: boolean; readonly ref: number }[];
  readonly leases: readonly {
    readonly flat: boolean;
    readonly expired: boolean;
    readonly contents: readonly number[];
    readonly snapshots: readonly number[];
  }[];
}

const index = fc.nat({ max: 5 });
const plans: fc.Arbitrary<Plan> = fc.record({
  contents: fc.array(
    fc.record({ refs: fc.array(index, { maxLength: 3 }), root: fc.nat({ max: 9 }).map((nth) => nth === 0) }),
    { minLength: 6, maxLength: 6 },
  ),
  snapshots: fc.array(
    fc.record({
      parent: fc.integer({ min: -3, max: 5 }),
      ref: fc.integer({ min: -5, max: 5 }),
      back: fc.integer({ min: -5, max: 5 }),
    }),
    { minLength: 6, maxLength: 6 },
  ),
  images: fc.array(
    fc.record({ target: index, expired: fc.boolean(), ref: fc.integer({ min: -3, max: 2 }) }),
    { maxLength: 3 },
  ),
  leases: fc.array(
    fc.record({
      flat: fc.boolean(),
      expired: fc.boolean(),
      contents: fc.array(index, { maxLength: 2 }),
      snapshots: fc.array(index, { maxLength: 2 }),
    }),
    { maxLength: 3 },
  ),
});

function alive(plan: Plan, deadImages: ReadonlySet<number>, deadLeases: ReadonlySet<number>): Set<string> {
  const live = new Set<string>();
  const rules: [string | undefined, string][] = [];
  for (const [at, { refs, root }] of plan.contents.entries()) {
    if (root) rules.push([undefined, `c${at}`]);
    for (const ref of refs) rules.push([`c${at}`, `c${ref}`]);
  }
  for (const [at, { parent, ref, back }] of plan.snapshots.entries()) {
    // A parent is made before its child.
    if (parent >= 0 && parent < at) rules.push([`s${at}`, `s${parent}`], [`flat s${at}`, `flat s${parent}`]);
    if (ref >= 0) rules.push([`s${at}`, `c${ref}`]);
    if (back >= 0) rules.push([`c${back}`, `s${at}`]);
    rules.push([`flat s${at}`, `kept s${at}`], [`s${at}`, `kept s${at}`]);
  }
  for (const [at, { target, expired, ref }] of plan.images.entries()) {
    if (deadImages.has(at)) continue;
    if (!expired) rules.push([undefined, `i${at}`]);
    rules.push([`i${at}`, `c${target}`]);
    if (ref >= 0) rules.push([`i${at}`, `i${ref}`]);
  }
  for (const [at, lease] of plan.leases.entries()) {
    if (lease.expired || deadLeases.has(at)) continue;
    for (const content of lease.contents)
      rules.push([undefined, lease.flat ? `flat c${content}` : `c${content}`]);
    for (const snapshot of lease.snapshots)
      rules.push([undefined, lease.flat ? `flat s${snapshot}` : `s${snapshot}`]);
  }
  for (const at of plan.contents.keys())
    rules.push([`flat c${at}`, `kept c${at}`], [`c${at}`, `kept c${at}`]);
  for (let before = -1; before !== live.size; ) {
    before = live.size;
    for (const [from, to] of rules) if (from === undefined || live.has(from)) live.add(to);
  }
  return live;
}

async function build(fixture: StoreFixture, plan: Plan): Promise<void> {
  const { images, leases } = fixture.store;
  const contentRef = 'containerd.io/gc.ref.content';
  for (const [at, { refs, root }] of plan.contents.entries())
    await put(fixture, `c${at}`, {
      ...(root ? { 'containerd.io/gc.root': 'x' } : {}),
      ...Object.fromEntries(refs.map((ref, nth) => [`${contentRef}.${nth}`, digestFor(`c${ref}`)])),
    });
  for (const [at, { parent, ref, back }] of plan.snapshots.entries())
    await commitSnapshot(fixture, `s${at}`, parent >= 0 && parent < at ? `s${parent}` : undefined, {
      ...(ref >= 0 ? { [contentRef]: digestFor(`c${ref}`) } : {}),
      ...(back >= 0 ? { 'containerd.io/gc.bref.content': digestFor(`c${back}`) } : {}),
    });
  for (const [at, { target, expired, ref }] of plan.images.entries())
    await images.create(
      fixture.ctx,
      image(`i${at}`, `c${target}`, {
        ...(expired ? { 'containerd.io/gc.expire': past } : {}),
        ...(ref >= 0 ? { 'containerd.io/gc.ref.image': `i${ref}` } : {}),
      }),
    );
  for (const [at, { flat, expired, contents: held, snapshots: keys }] of plan.leases.entries()) {
    const id = parseLeaseId(`l${at}`);
    await leases.create(fixture.ctx, {
      id,
      labels: {
        ...(flat ? { 'containerd.io/gc.flat': 'x' } : {}),
        ...(expired ? { 'containerd.io/gc.expire': past } : {}),
      },
    });
    for (const content of held)
      await leases.addResource(fixture.ctx, id, { type: 'content', id: digestFor(`c${content}`) });
    for (const snapshot of keys)
      await leases.addResource(fixture.ctx, id, { type: 'snapshots/records', id: `s${snapshot}` });
  }
}

async function check(fixture: StoreFixture, plan: Plan, live: ReadonlySet<string>): Promise<void> {
  const kept = (kind: string, count: number): string[] =>
    Array.from({ length: count }, (_, at) => `${kind}${at}`).filter((name) => live.has(`kept ${name}`));
  assert.deepEqual(
    (await contents(fixture)).toSorted(),
    kept('c', plan.contents.length).map(digestFor).toSorted(),
  );
  assert.deepEqual((await blobs(fixture)).toSorted(), (await contents(fixture)).toSorted());
  assert.deepEqual(await snapshots(fixture), kept('s', plan.snapshots.length));
  assert.equal(fixture.backend.keys().length, kept('s', plan.snapshots.length).length);
}

test('random graphs: what a root reaches stays, everything else goes', async () => {
  const cuts = fc.record({
    images: fc.uniqueArray(fc.nat({ max: 2 })),
    leases: fc.uniqueArray(fc.nat({ max: 2 })),
  });
  await fc.assert(
    fc.asyncProperty(plans, cuts, async (plan, cut) => {
      await using fixture = await StoreFixture.make();
      await build(fixture, plan);
      await fixture.collector.run(fixture.ctx);
      const first = alive(plan, new Set(), new Set());
      await check(fixture, plan, first);
      const swept = new Set([...plan.images.keys()].filter((at) => !first.has(`i${at}`)));
      for (const at of cut.images.filter((nth) => nth < plan.images.length && !swept.has(nth)))
        await fixture.store.images.delete(fixture.ctx, parseImageName(`i${at}`), {});
      for (const at of cut.leases.filter(
        (nth) => nth < plan.leases.length && plan.leases[nth]?.expired === false,
      ))
        await fixture.store.leases.delete(fixture.ctx, parseLeaseId(`l${at}`), {});
      await fixture.collector.run(fixture.ctx);
      const second = alive(plan, new Set([...swept, ...cut.images]), new Set(cut.leases));
      // What went in the first run does not come back.
      await check(fixture, plan, new Set([...second].filter((node) => first.has(node))));
    }),
    { numRuns: 40 },
  );
});
