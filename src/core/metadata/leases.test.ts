/** Leases of the metadata store, by its own call and as clients get them. */

import { leasesOverTheWire } from '../../testing/remote-stores.ts';
import { leaseManagerSuite } from '../leases/lease-manager.suite.ts';
import { StoreFixture } from './store.fixture.ts';

leaseManagerSuite('metadata', async () => {
  const fixture = await StoreFixture.make();
  return {
    leases: fixture.store.leases,
    ctx: fixture.ctx,
    otherCtx: fixture.within('other'),
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
});

leaseManagerSuite('metadata over the wire', async () => {
  await using cleanup = new AsyncDisposableStack();
  const fixture = cleanup.use(await StoreFixture.make());
  const { remote } = cleanup.use(await leasesOverTheWire(fixture.store.leases));
  const held = cleanup.move();
  return {
    leases: remote,
    ctx: fixture.ctx,
    otherCtx: fixture.within('other'),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
});
