import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseImageName, parseLeaseId } from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { newImage } from './samples.fixture.ts';
import { StoreFixture } from './store.fixture.ts';

test('images, leases and labels answer as plain maps would, whatever the order of calls', async () => {
  const names = fc.constantFrom('a', 'b', 'c');
  const labelMaps = fc.dictionary(
    fc.constantFrom('k', 'l.m', '__proto__', 'constructor'),
    fc.constantFrom('', '1', '2'),
    { noNullPrototype: true },
  );
  const call = fc.oneof(
    fc.record({ kind: fc.constant('create' as const), name: names, labels: labelMaps }),
    fc.record({ kind: fc.constant('replace' as const), name: names, labels: labelMaps }),
    fc.record({
      kind: fc.constant('set' as const),
      name: names,
      labels: labelMaps,
      key: fc.constantFrom('k', 'l.m', '__proto__'),
    }),
    fc.record({ kind: fc.constant('delete' as const), name: names }),
    fc.record({ kind: fc.constant('lease' as const), name: names }),
    fc.record({ kind: fc.constant('unlease' as const), name: names }),
    fc.record({ kind: fc.constant('reopen' as const), name: names }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(call, { maxLength: 25 }), async (calls) => {
      await using first = await StoreFixture.make();
      let fixture = first;
      const images = new Map<string, Map<string, string>>();
      const leased = new Set<string>();
      const clean = (labels: Record<string, string>): Map<string, string> =>
        new Map(Object.entries(labels).filter(([, value]) => value !== ''));
      for (const step of calls) {
        const name = parseImageName(step.name);
        const id = parseLeaseId(step.name);
        const { store, ctx } = fixture;
        if (step.kind === 'create') {
          const work = store.images.create(ctx, newImage(step.name, { labels: step.labels }));
          if (images.has(step.name)) await rejectsWith(work, 'AlreadyExists');
          else images.set(step.name, (await work, clean(step.labels)));
        } else if (step.kind === 'replace' || step.kind === 'set') {
          const paths = step.kind === 'set' ? [`labels.${step.key}`] : ['labels'];
          const work = store.images.update(ctx, newImage(step.name, { labels: step.labels }), paths);
          const current = images.get(step.name);
          if (current === undefined) await rejectsWith(work, 'NotFound');
          else {
            await work;
            if (step.kind === 'replace') images.set(step.name, clean(step.labels));
            else {
              const value = clean(step.labels).get(step.key);
              if (value === undefined) current.delete(step.key);
              else current.set(step.key, value);
            }
          }
        } else if (step.kind === 'delete') {
          const work = store.images.delete(ctx, name, {});
          if (images.delete(step.name)) await work;
          else await rejectsWith(work, 'NotFound');
        } else if (step.kind === 'lease') {
          const work = store.leases.create(ctx, { id, labels: {} });
          if (leased.has(step.name)) await rejectsWith(work, 'AlreadyExists');
          else leased.add((await work, step.name));
        } else if (step.kind === 'unlease') {
          const work = store.leases.delete(ctx, id, {});
          if (leased.delete(step.name)) await work;
          else await rejectsWith(work, 'NotFound');
        } else {
          fixture.close();
          fixture = StoreFixture.reopen(first.directory);
        }
      }
      const found = await fixture.store.images.list(fixture.ctx, []);
      assert.deepEqual(
        new Map(found.map((image) => [image.name as string, new Map(Object.entries(image.labels))])),
        new Map([...images].toSorted(([a], [b]) => (a < b ? -1 : 1))),
      );
      const ids = (await fixture.store.leases.list(fixture.ctx, [])).map((lease) => lease.id as string);
      assert.deepEqual(ids, [...leased].toSorted());
      fixture.close();
    }),
    { numRuns: 40 },
  );
});
