import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { withLease } from '../../base/context.ts';
import { type Digest, digestOf } from '../../base/digest.ts';
import { failedPrecondition } from '../../base/errors.ts';
import {
  parseContainerId,
  parseImageName,
  parseIngestRef,
  parseLeaseId,
  parseSandboxId,
  parseSnapshotKey,
} from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import { putContent } from '../content/content-store.suite.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';

const key = parseSnapshotKey;
const bytesOf = (name: string): Buffer => Buffer.from(`bytes of ${name}`);
const digestFor = (name: string): Digest => digestOf(bytesOf(name));
const past = '2001-01-01T00:00:00Z';
const future = '2999-01-01T00:00:00.5+02:00';

const put = (fixture: StoreFixture, name: string, labels: Labels = {}): Promise<Digest> =>
  putContent(fixture.store.content, fixture.ctx, bytesOf(name), { labels });

async function contents(fixture: StoreFixture): Promise<string[]> {
  return (await Array.fromAsync(fixture.store.content.list(fixture.ctx, []))).map(({ digest }) => digest);
}

async function snapshots(fixture: StoreFixture): Promise<string[]> {
  const list = fixture.store.snapshotter('records').list(fixture.ctx, []);
  return (await Array.fromAsync(list)).map((info) => info.key).toSorted();
}

const blobs = async (fixture: StoreFixture): Promise<string[]> => Array.fromAsync(fixture.local.blobs());

const image = (name: string, content: string, labels: Labels = {}) => ({
  name: parseImageName(name),
  target: { mediaType: 'x', digest: digestFor(content), sizeBytes: 1 },
  labels,
});

async function commitSnapshot(
  fixture: StoreFixture,
  name: string,
  parent?: string,
  labels: Labels = {},
): Promise<void> {
  const snapshotter = fixture.store.snapshotter('records');
  await snapshotter.prepare(
    fixture.ctx,
    key(`${name} active`),
    parent === undefined ? {} : { parent: key(parent) },
  );
  await snapshotter.commit(fixture.ctx, key(name), key(`${name} active`), { labels });
}

describe('collector', () => {
  test('an image keeps its tree of labels; the rest goes, bytes included', async () => {
    await using fixture = await StoreFixture.make();
    await put(fixture, 'layer');
    await put(fixture, 'config', { 'containerd.io/gc.ref.snapshot.records': 'top' });
    await put(fixture, 'manifest', {
      'containerd.io/gc.ref.content.config': digestFor('config'),
      'containerd.io/gc.ref.content.l.0': digestFor('layer'),
    });
    await put(fixture, 'garbage');
    await commitSnapshot(fixture, 'base');
    await commitSnapshot(fixture, 'top', 'base');
    await commitSnapshot(fixture, 'left');
    await commitSnapshot(fixture, 'leaf of left', 'left');
    await fixture.store.images.create(fixture.ctx, image('app', 'manifest'));
    fixture.events.published.length = 0;
    await fixture.collector.run(fixture.ctx);
    const kept = ['layer', 'config', 'manifest'].map(digestFor).toSorted();
    assert.deepEqual((await contents(fixture)).toSorted(), kept);
    assert.deepEqual((await blobs(fixture)).toSorted(), kept);
    assert.deepEqual(await snapshots(fixture), ['base', 'top']);
    assert.equal(fixture.backend.keys().length, 2);
    assert.equal(fixture.backend.cleanups, 1);
    assert.deepEqual(fixture.events.topics(), ['/snapshot/remove', '/snapshot/remove']);

    await fixture.store.images.delete(fixture.ctx, parseImageName('app'), {});
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual([await contents(fixture), await blobs(fixture), await snapshots(fixture)], [[], [], []]);
    assert.deepEqual(fixture.backend.keys(), []);
  });

  test('leases keep what they list, flat ones nothing beyond it but parents; expired ones go', async () => {
    await using fixture = await StoreFixture.make();
    const { leases } = fixture.store;
    const flat = await leases.create(fixture.ctx, {
      labels: { 'containerd.io/gc.flat': 'x', 'containerd.io/gc.expire': future },
    });
    const expired = await leases.create(fixture.ctx, { labels: { 'containerd.io/gc.expire': past } });
    await put(fixture, 'child');
    await put(fixture, 'parent', { 'containerd.io/gc.ref.content': digestFor('child') });
    await put(fixture, 'late');
    await commitSnapshot(fixture, 'base');
    await commitSnapshot(fixture, 'top', 'base');
    await leases.addResource(fixture.ctx, flat.id, { type: 'content', id: digestFor('parent') });
    await leases.addResource(fixture.ctx, flat.id, { type: 'snapshots/records', id: 'top' });
    await leases.addResource(fixture.ctx, expired.id, { type: 'content', id: digestFor('late') });
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(await contents(fixture), [digestFor('parent')]);
    assert.deepEqual(await snapshots(fixture), ['base', 'top']);
    assert.deepEqual(
      (await leases.list(fixture.ctx, [])).map(({ id }) => id),
      [flat.id],
    );
  });

  test('an expired image goes with its event, unless something refers to it', async () => {
    await using fixture = await StoreFixture.make();
    const { images } = fixture.store;
    const expired = { 'containerd.io/gc.expire': past };
    await images.create(fixture.ctx, image('gone', 'x', expired));
    await images.create(fixture.ctx, image('held', 'x', expired));
    await images.create(fixture.ctx, image('holder', 'x', { 'containerd.io/gc.ref.image.a': 'held' }));
    await images.create(fixture.ctx, image('broken', 'x', { 'containerd.io/gc.expire': 'tomorrow' }));
    fixture.events.published.length = 0;
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(
      (await images.list(fixture.ctx, [])).map(({ name }) => name),
      ['broken', 'held', 'holder'],
    );
    assert.deepEqual(fixture.events.topics(), ['/images/delete']);
    assert.equal(fixture.events.published[0]?.namespace, 'default');
  });

  test('containers, sandboxes, roots, back references and conditions', async () => {
    await using fixture = await StoreFixture.make();
    const { containers, sandboxes } = fixture.store;
    const old = new Date(Date.now() - 3_600_000).toISOString();
    await put(fixture, 'rooted', { 'containerd.io/gc.root': 'x' });
    await put(fixture, 'of sandbox');
    await put(fixture, 'back', { 'containerd.io/gc.bref.container': 'c1' });
    await put(fixture, 'back to nobody', { 'containerd.io/gc.bref.container': 'c2' });
    await put(fixture, 'fresh', {
      'containerd.io/gc.root': 'x',
      'containerd.io/gc.cond.snapshot.records': 'usedat>2h,usedat<1h30m|used',
    });
    await put(fixture, 'stale', {
      'containerd.io/gc.root': 'x',
      'containerd.io/gc.cond.snapshot.records': 'usedat<30m|unused',
    });
    for (const name of ['used', 'unused'])
      await commitSnapshot(fixture, name, undefined, { 'containerd.io/gc.cond.value-usedat': old });
    await fixture.store.snapshotter('records').prepare(fixture.ctx, key('rw'), {});
    await containers.create(fixture.ctx, {
      id: parseContainerId('c1'),
      labels: {},
      image: '',
      runtime: { name: 'runc', options: undefined },
      spec: { typeUrl: 's', value: new Uint8Array() },
      snapshotter: 'records',
      snapshotKey: 'rw',
      extensions: {},
      sandbox: '',
    });
    await sandboxes.create(fixture.ctx, {
      id: parseSandboxId('s1'),
      runtime: { name: 'r', options: undefined },
      spec: undefined,
      labels: { 'containerd.io/gc.ref.content/x': digestFor('of sandbox') },
      extensions: {},
      sandboxer: '',
    });
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(
      (await contents(fixture)).toSorted(),
      ['rooted', 'of sandbox', 'back', 'fresh', 'stale'].map(digestFor).toSorted(),
    );
    assert.deepEqual(await snapshots(fixture), ['rw', 'used']);
  });

  test('an ingest lives until its time or with its lease, and keeps what it expects', async () => {
    await using fixture = await StoreFixture.make();
    const { content, leases } = fixture.store;
    const { id } = await leases.create(fixture.ctx, { labels: {} });
    const leased = withLease(fixture.ctx, id);
    await (await content.writer(fixture.ctx, { ref: parseIngestRef('plain') }))[Symbol.asyncDispose]();
    await (await content.writer(leased, { ref: parseIngestRef('leased') }))[Symbol.asyncDispose]();
    const other = fixture.within('other');
    await putContent(content, other, bytesOf('shared'));
    await using complete = await content.writer(fixture.ctx, {
      ref: parseIngestRef('complete'),
      expected: digestFor('shared'),
    });
    await content.delete(other, digestFor('shared'));
    await fixture.collector.run(fixture.ctx);
    const refs = async (): Promise<string[]> =>
      (await content.listStatuses(fixture.ctx, [])).map(({ ref }) => ref);
    assert.deepEqual(await refs(), ['complete', 'leased', 'plain']);
    assert.equal(await complete.commit(fixture.ctx, {}), digestFor('shared'));
    await leases.delete(fixture.ctx, id, {});
    await fixture.database.write((sql) =>
      sql.run('UPDATE ingests SET expires_at = 1 WHERE ref = ?', 'plain'),
    );
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(await refs(), []);
    assert.deepEqual(await blobs(fixture), []);
  });

  test('one snapshot that cannot be removed stops neither the others nor the next run', async () => {
    await using fixture = await StoreFixture.make();
    const snapshotter = fixture.store.snapshotter('records');
    for (const name of ['a', 'b']) await snapshotter.prepare(fixture.ctx, key(name), {});
    fixture.backend.failures.set('remove', failedPrecondition('busy'));
    await fixture.collector.run(fixture.ctx);
    assert.equal(fixture.backend.keys().length, 1);
    await fixture.collector.run(fixture.ctx);
    assert.deepEqual(fixture.backend.keys(), []);
  });

  test('a commit under way keeps its blob from being collected', async () => {
    await using fixture = await StoreFixture.make();
    const { local, database, store } = fixture;
    const digest = await put(fixture, 'same');
    await store.content.delete(fixture.ctx, digest);
    const placed = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const write = database.write.bind(database);
    const acquire = store.blobGate.acquire.bind(store.blobGate);
    let commit: Promise<Digest> | undefined;
    local.blobs = async function* () {
      // The commit that follows is held between its bytes being in place and its record being durable.
      store.blobGate.acquire = async (...parameters) => {
        database.write = async (work) => {
          placed.resolve();
          await release.promise;
          return write(work);
        };
        return acquire(...parameters);
      };
      commit = put(fixture, 'same');
      await placed.promise;
      store.blobGate.acquire = (...parameters) => {
        release.resolve();
        return acquire(...parameters);
      };
      yield digest;
      release.resolve();
    };
    await fixture.collector.run(fixture.ctx);
    assert.equal(await commit, digest);
    await using reader = await store.content.open(fixture.ctx, digest);
    assert.equal(reader.sizeBytes, bytesOf('same').length);
  });
});

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
