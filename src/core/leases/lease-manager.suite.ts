/** The contract of lease managers as tests: run against every implementation. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NamespacedContext } from '../../base/context.ts';
import { digestOf } from '../../base/digest.ts';
import type { ErrorCode } from '../../base/errors.ts';
import { parseLeaseId } from '../../base/identifiers.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import type { LeaseManager } from './lease-manager.ts';

/** With a snapshotter `records`, and no collector. */
export interface LeaseManagerUnderTest extends AsyncDisposable {
  readonly leases: LeaseManager;
  /** Two namespaces. */
  readonly ctx: NamespacedContext;
  readonly otherCtx: NamespacedContext;
}

const digest = digestOf('x');

export function leaseManagerSuite(name: string, make: () => Promise<LeaseManagerUnderTest>): void {
  describe(`lease manager: ${name}`, () => {
    test('takes resources of known types, once', async () => {
      await using made = await make();
      const { leases, ctx } = made;
      const { id } = await leases.create(ctx, { id: parseLeaseId('l'), labels: { a: 'b' } });
      await rejectsWith(leases.create(ctx, { id, labels: {} }), 'AlreadyExists');
      const resources = [
        { type: 'content', id: digest },
        { type: 'images', id: 'i' },
        { type: 'ingests', id: 'r' },
        { type: 'snapshots/records', id: 'k' },
      ];
      for (const resource of [...resources, ...resources]) await leases.addResource(ctx, id, resource);
      assert.deepEqual(await leases.listResources(ctx, id), resources);
      await leases.deleteResource(ctx, id, { type: 'images', id: 'i' });
      assert.equal((await leases.listResources(ctx, id)).length, 3);
      const wrong: readonly (readonly [string, string, ErrorCode])[] = [
        ['content', 'not a digest', 'InvalidArgument'],
        ['content/x', digest, 'InvalidArgument'],
        ['snapshots', 'k', 'InvalidArgument'],
        ['snapshots/', 'k', 'InvalidArgument'],
        ['images', '', 'InvalidArgument'],
        ['streams', 'k', 'Unimplemented'],
      ];
      for (const [type, resource, code] of wrong)
        await rejectsWith(leases.addResource(ctx, id, { type, id: resource }), code);
      const absent = parseLeaseId('absent');
      await rejectsWith(leases.addResource(ctx, absent, { type: 'images', id: 'i' }), 'NotFound');
    });

    test('gives a name when none is given; filters; deletion takes the resources along', async () => {
      await using made = await make();
      const { leases, ctx } = made;
      const one = await leases.create(ctx, { labels: { a: 'b' } });
      const two = await leases.create(ctx, { labels: {} });
      assert.notEqual(one.id, two.id);
      assert.deepEqual(await leases.list(ctx, ['labels.a==b']), [one]);
      assert.deepEqual(await leases.list(ctx, [`id==${two.id}`]), [two]);
      await rejectsWith(leases.list(ctx, ['id==']), 'InvalidArgument');
      await leases.addResource(ctx, one.id, { type: 'images', id: 'i' });
      await leases.delete(ctx, one.id, {});
      await rejectsWith(leases.listResources(ctx, one.id), 'NotFound');
      await leases.create(ctx, { id: one.id, labels: {} });
      assert.deepEqual(await leases.listResources(ctx, one.id), []);
      await rejectsWith(leases.delete(ctx, two.id, { sync: true }), 'FailedPrecondition');
    });

    test('a namespace does not see the leases of another', async () => {
      await using made = await make();
      const { leases, ctx, otherCtx } = made;
      const { id } = await leases.create(ctx, { labels: {} });
      assert.deepEqual(await leases.list(otherCtx, []), []);
      await rejectsWith(leases.delete(otherCtx, id, {}), 'NotFound');
      assert.equal((await leases.list(ctx, [])).length, 1);
    });
  });
}
