/** Streams as objects of collection. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { StreamManager, type ValueStream } from './stream-manager.ts';

function stream(): ValueStream & { closed: boolean } {
  return {
    closed: false,
    send: async () => {},
    receive: async () => undefined,
    async close() {
      this.closed = true;
    },
  };
}

test('an open stream stays; one of a lease is closed when the lease goes, and its name is free', async () => {
  await using fixture = await StoreFixture.make();
  const streams = new StreamManager();
  fixture.store.collectibles.push(streams);
  const { namespace } = fixture.ctx;
  const lease = await fixture.store.leases.create(fixture.ctx, { labels: {} });
  const [open, leased] = [stream(), stream()];
  using _open = streams.register(namespace, 'open', open);
  const registration = streams.register(namespace, 'leased', leased, { lease: lease.id });
  await fixture.collector.run(fixture.ctx);
  assert.deepEqual([open.closed, leased.closed], [false, false]);
  await fixture.store.leases.delete(fixture.ctx, lease.id, {});
  await fixture.collector.run(fixture.ctx);
  assert.deepEqual([open.closed, leased.closed], [false, true]);
  assert.throws(
    () => streams.get(namespace, 'leased'),
    (error) => hasCode(error, 'NotFound'),
  );
  const again = stream();
  using _again = streams.register(namespace, 'leased', again);
  // The first one's end does not take the name from the second.
  registration[Symbol.dispose]();
  assert.equal(streams.get(namespace, 'leased'), again);
});
