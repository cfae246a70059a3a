/**
 * Random graphs under random mutations over the real metadata store, beside a naive model: after each collection what a
 * root reaches is there and everything else is gone, and in between nothing goes by itself.
 */
import { test } from 'node:test';
import * as fc from 'fast-check';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { type Edge, ModelledStore, size } from './modelled-store.fixture.ts';

type Step = (world: ModelledStore) => Promise<void>;

const nth = fc.nat({ max: size - 1 });
const edges: fc.Arbitrary<Edge[]> = fc.array(
  fc.oneof(
    fc.tuple(
      fc.constant('ref' as const),
      fc.constantFrom('content', 'snapshot', 'image', 'mount', 'stream'),
      nth,
    ),
    fc.tuple(fc.constant('bref' as const), fc.constantFrom('content', 'snapshot', 'image', 'container'), nth),
  ),
  { maxLength: 3 },
);
const sometimes = fc.nat({ max: 4 }).map((number) => number === 0);

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(nth, edges, sometimes, nth).map(
    ([at, to, root, lease]): Step =>
      (world) =>
        world.putContent(at, to, root, world.someLease(lease)),
  ),
  fc.tuple(nth, edges).map(
    ([at, to]): Step =>
      (world) =>
        world.relabelContent(at, to),
  ),
  fc.tuple(nth, nth, edges, nth).map(
    ([at, parent, to, lease]): Step =>
      (world) =>
        world.commitSnapshot(at, parent, to, world.someLease(lease)),
  ),
  fc.tuple(nth, nth, edges, sometimes).map(
    ([at, target, to, expires]): Step =>
      (world) =>
        world.createImage(at, target, to, expires),
  ),
  fc.tuple(nth, nth, edges).map(
    ([at, snapshot, to]): Step =>
      (world) =>
        world.createContainer(at, snapshot, to),
  ),
  fc.tuple(nth, edges).map(
    ([at, to]): Step =>
      (world) =>
        world.createSandbox(at, to),
  ),
  fc.tuple(nth, fc.boolean(), sometimes).map(
    ([at, flat, expired]): Step =>
      (world) =>
        world.createLease(at, flat, expired),
  ),
  fc
    .tuple(nth, fc.constantFrom('content' as const, 'snapshot' as const, 'image' as const), nth, sometimes)
    .map(
      ([at, kind, of, remove]): Step =>
        (world) =>
          world.lease(at, kind, of, remove),
    ),
  fc.tuple(nth, nth).map(
    ([at, lease]): Step =>
      (world) =>
        world.openIngest(at, world.someLease(lease)),
  ),
  fc.tuple(nth, edges, nth).map(
    ([at, to, lease]): Step =>
      (world) =>
        world.activateMount(at, to, world.someLease(lease)),
  ),
  fc.tuple(nth, nth).map(
    ([at, lease]): Step =>
      (world) =>
        world.openStream(at, world.someLease(lease)),
  ),
  fc
    .tuple(fc.constantFrom('image' as const, 'container' as const, 'sandbox' as const, 'lease' as const), nth)
    .map(
      ([kind, at]): Step =>
        (world) =>
          world.remove(kind, at),
    ),
  fc.constant<Step>((world) => world.collect()),
);

void test('random graphs, random mutations: what is reachable stays, what is not goes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 20, maxLength: 80 }), async (sequence) => {
      await using world = new ModelledStore(await StoreFixture.make());
      for (const step of sequence) await step(world);
      await world.check();
      await world.collect();
      await world.check();
      for (const kind of ['image', 'container', 'sandbox', 'lease'] as const)
        for (let at = 0; at < size; at += 1) await world.remove(kind, at);
      await world.collect();
      await world.check();
    }),
    { numRuns: 40 },
  );
});
