/** Pulls over a registry that misbehaves, pulls that are given up, and several pulls at once. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Deferred, deferred } from '../../base/deferred.ts';
import { digestOf } from '../../base/digest.ts';
import { parseIngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { ingestRefOf } from '../../oci/media-types.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { needsLinux } from '../../testing/needs-root.ts';
import { type BuiltImage, buildImage, publish } from '../../testing/registry/image-builder.ts';
import type { FaultEffect } from '../../testing/registry/registry-faults.ts';
import { noise, TransferFixture } from './transfer.fixture.ts';

const sample = (): BuiltImage =>
  buildImage([{ base: noise(200_000, 1) }, { top: noise(150_000, 2) }], { platform: hostPlatform() });

const hold = (afterBytes: number): FaultEffect & { reached: Deferred; release: Deferred } => ({
  kind: 'hold',
  afterBytes,
  reached: deferred(),
  release: deferred(),
});

// One unpacks layers one after the other, the other side by side.
for (const snapshotter of ['native', 'overlayfs'] as const)
  void describe(snapshotter, {
    skip: snapshotter === 'overlayfs' && needsLinux('overlayfs is mounted'),
  }, () => {
    const published = async (
      options: Parameters<typeof TransferFixture.make>[0] = {},
    ): Promise<{ fixture: TransferFixture; image: BuiltImage; bottom: Descriptor; top: Descriptor }> => {
      const fixture = await TransferFixture.make({ ...options, snapshotter });
      const image = sample();
      publish(fixture.remote.storage, 'sample', 'latest', image);
      const [bottom, top] = image.layers.map(({ descriptor }) => descriptor);
      return { fixture, image, bottom: bottom!, top: top! };
    };

    void describe('a registry that misbehaves', () => {
      for (const effect of [
        { kind: 'status', status: 503 },
        { kind: 'status', status: 429, headers: { 'retry-after': '0' } },
        { kind: 'reset' },
      ] as const satisfies FaultEffect[])
        void it(`is asked again after ${effect.kind} ${'status' in effect ? effect.status : ''}`, async () => {
          const { fixture, top } = await published();
          await using _ = fixture;
          fixture.remote.faults.add({ path: top.digest, effect });
          fixture.remote.faults.add({ path: '/manifests/latest', effect });
          await fixture.pull();
          assert.equal(fixture.requestsFor(top.digest).length, 2);
          assert.equal((await fixture.snapshots()).length, 2);
        });

      void it('is not asked for ever', async () => {
        const { fixture, top } = await published();
        await using _ = fixture;
        fixture.remote.faults.add({ path: top.digest, effect: { kind: 'status', status: 500 }, times: 1000 });
        await assert.rejects(fixture.pull(), { code: 'Unavailable', message: /status 500/ });
        await fixture.assertNothingLeft([top]);
      });

      for (const redirectBlobs of [false, true])
        void it(`goes on where it was cut${redirectBlobs ? ', at the storage it redirects to' : ''}`, async () => {
          const { fixture, top } = await published({ redirectBlobs });
          await using _ = fixture;
          fixture.remote.faults.add({ path: top.digest, effect: { kind: 'cut', afterBytes: 100_000 } });
          await fixture.pull();
          const [first, second] = fixture
            .requestsFor(top.digest)
            .filter(({ redirected }) => redirected === redirectBlobs);
          assert.equal(first?.headers.range, undefined);
          const from = Number(/^bytes=(\d+)-$/.exec(second?.headers.range ?? '')?.[1]);
          assert.ok(from > 0 && from <= 100_000, `${from}`);
          assert.equal((await fixture.snapshots()).length, 2);
        });

      void it('without ranges begins anew after a cut', async () => {
        const { fixture, top } = await published({ omitRanges: true });
        await using _ = fixture;
        fixture.remote.faults.add({ path: top.digest, effect: { kind: 'cut', afterBytes: 100_000 } });
        await fixture.pull();
        assert.equal(fixture.requestsFor(top.digest).length, 2);
        assert.equal((await fixture.snapshots()).length, 2);
      });

      void it('that sends other bytes is refused, and they are not kept', async () => {
        const { fixture, top, bottom } = await published();
        await using _ = fixture;
        fixture.remote.faults.add({ path: top.digest, effect: { kind: 'corrupt' } });
        await assert.rejects(fixture.pull(), { code: 'FailedPrecondition', message: new RegExp(top.digest) });
        assert.equal((await fixture.digests()).includes(top.digest), false);
        const statuses = await fixture.store.content.listStatuses(fixture.ctx, []);
        assert.equal(
          statuses.some(({ ref }) => ref === ingestRefOf(top)),
          false,
        );
        await fixture.assertNothingLeft([top, bottom]);
        await fixture.pull();
        assert.equal((await fixture.snapshots()).length, 2);
      });

      void it('that had sent other bytes before a cut is asked for the whole again', async () => {
        const { fixture, top } = await published();
        await using _ = fixture;
        const { content } = fixture.store;
        {
          const ref = parseIngestRef(ingestRefOf(top));
          await using writer = await content.writer(fixture.ctx, { ref, totalBytes: top.sizeBytes });
          await writer.write(Buffer.alloc(1000, 'wrong'));
        }
        await fixture.pull();
        assert.deepEqual(
          fixture.requestsFor(top.digest).map(({ headers }) => headers.range),
          ['bytes=1000-', undefined],
        );
      });

      void it('that announces another length is refused', async () => {
        const { fixture, top } = await published();
        await using _ = fixture;
        const headers = { 'content-length': String(top.sizeBytes + 5) };
        fixture.remote.faults.add({ path: top.digest, effect: { kind: 'header', headers }, times: 100 });
        await assert.rejects(fixture.pull(), { code: 'Unavailable' });
        await fixture.assertNothingLeft([top]);
      });

      void it('that names another digest for a manifest is refused', async () => {
        const { fixture, image } = await published();
        await using _ = fixture;
        const headers = { 'docker-content-digest': digestOf('other') };
        fixture.remote.faults.add({
          path: `/manifests/${image.descriptor.digest}`,
          effect: { kind: 'header', headers },
        });
        const byDigest = fixture.reference(`sample@${image.descriptor.digest}`);
        await assert.rejects(fixture.pull({}, byDigest), { code: 'Unavailable' });
      });

      void it('that has no such image is believed', async () => {
        const { fixture } = await published();
        await using _ = fixture;
        await assert.rejects(fixture.pull({}, fixture.reference('sample:absent')), { code: 'NotFound' });
        await assert.rejects(fixture.pull({}, fixture.reference('absent:latest')), { code: 'NotFound' });
        assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
      });

      void it('that lacks a layer fails the pull with its digest', async () => {
        const { fixture, top } = await published();
        await using _ = fixture;
        fixture.remote.faults.add({ path: top.digest, effect: { kind: 'status', status: 404 }, times: 100 });
        await assert.rejects(fixture.pull(), { code: 'NotFound', message: new RegExp(top.digest) });
      });

      void it('that wants to know who asks is told, and nobody else is', async () => {
        const auth = { kind: 'bearer', username: 'me', password: 'secret' } as const;
        const { fixture } = await published({ auth, redirectBlobs: true });
        await using _ = fixture;
        await assert.rejects(fixture.pull(), { code: 'Unauthenticated' });
        const asked: string[] = [];
        await fixture.pull({
          credentials: async ({ host }) => {
            asked.push(host);
            return { kind: 'basic', username: 'me', secret: 'secret' };
          },
        });
        assert.deepEqual(asked, [fixture.remote.host]);
        for (const { redirected, headers } of fixture.remote.requests)
          if (redirected) assert.equal(headers.authorization, undefined);
      });
    });

    void describe('a pull that is given up', () => {
      void it('ends at once, leaves nothing open, and the next goes on where it was', async () => {
        const { fixture, top, bottom } = await published();
        await using _ = fixture;
        const effect = hold(100_000);
        fixture.remote.faults.add({ path: top.digest, effect });
        const aborter = new AbortController();
        const moving = fixture.reported('downloading', top);
        const pulling = fixture.pull({ ctx: fixture.within('default', aborter.signal) });
        await moving;
        aborter.abort();
        await assert.rejects(pulling, { code: 'Canceled' });
        effect.release.resolve();
        await fixture.assertNothingLeft([top, bottom]);

        await fixture.pull();
        const second = fixture.requestsFor(top.digest)[1];
        assert.match(second?.headers.range ?? '', /^bytes=[1-9]\d*-$/);
        assert.equal((await fixture.snapshots()).length, 2);
        assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
      });

      void it('keeps what was verified from collection, under a lease that expires', async () => {
        const { fixture, top, bottom } = await published();
        await using _ = fixture;
        fixture.remote.faults.add({ path: top.digest, effect: { kind: 'status', status: 404 }, times: 100 });
        await assert.rejects(fixture.pull({ unpacks: [] }), { code: 'NotFound' });
        const [lease, ...others] = await fixture.store.leases.list(fixture.ctx, []);
        assert.deepEqual(others, []);
        const expiresAt = Date.parse(lease?.labels['containerd.io/gc.expire'] ?? '');
        const lifetimeMs = expiresAt - Date.now();
        assert.ok(lifetimeMs > limits.transferLeaseMs - 60_000 && lifetimeMs <= limits.transferLeaseMs);

        const before = await fixture.digests();
        await fixture.collector.run(fixture.ctx);
        assert.deepEqual(await fixture.digests(), before);
        fixture.remote.faults.clear();
        await fixture.pull();
        const layers = [bottom, top].filter(({ digest }) => before.includes(digest));
        for (const { digest } of layers) assert.equal(fixture.requestsFor(digest).length, 1);
        assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
      });

      void it('does not take down one that waits for the same layer', async () => {
        const { fixture, top } = await published();
        await using _ = fixture;
        const effect = hold(1000);
        fixture.remote.faults.add({ path: top.digest, effect });
        const aborter = new AbortController();
        const first = fixture.pull({ ctx: fixture.within('default', aborter.signal) });
        await effect.reached.promise;
        const second = fixture.pull();
        aborter.abort();
        effect.release.resolve();
        await assert.rejects(first, { code: 'Canceled' });
        await second;
        assert.equal((await fixture.store.images.list(fixture.ctx, [])).length, 1);
        await fixture.collector.run(fixture.ctx);
        assert.equal((await fixture.snapshots()).length, 2);
      });
    });

    void describe('pulls at the same time', () => {
      void it('fetch and unpack each layer once', async () => {
        const { fixture, image } = await published();
        await using _ = fixture;
        await Promise.all(
          Array.from({ length: 5 }, (_value, index) => fixture.pull({ name: `image-${index}` })),
        );
        assert.equal((await fixture.store.images.list(fixture.ctx, [])).length, 5);
        for (const { descriptor } of image.layers) {
          assert.equal(fixture.requestsFor(descriptor.digest).length, 1);
          assert.equal(fixture.differ.applied.filter((digest) => digest === descriptor.digest).length, 1);
        }
        assert.deepEqual(await fixture.store.leases.list(fixture.ctx, []), []);
      });

      void it('in two namespaces fetch each layer once, and unpack it in both', async () => {
        const { fixture, image } = await published();
        await using _ = fixture;
        const elsewhere = fixture.within('elsewhere');
        await Promise.all([fixture.pull(), fixture.pull({ ctx: elsewhere })]);
        for (const { descriptor } of image.layers)
          assert.equal(fixture.requestsFor(descriptor.digest).length, 1);
        assert.equal((await fixture.snapshots()).length, 2);
        assert.equal((await fixture.snapshots(elsewhere)).length, 2);
      });

      void it('take no more than three bodies at once', async () => {
        await using fixture = await TransferFixture.make({ snapshotter });
        const image = buildImage(
          Array.from({ length: 6 }, (_value, index) => ({ [`f${index}`]: noise(5000, index) })),
          { platform: hostPlatform() },
        );
        publish(fixture.remote.storage, 'sample', 'latest', image);
        const holds = image.layers.map(({ descriptor }) => {
          const effect = hold(10);
          fixture.remote.faults.add({ path: descriptor.digest, effect });
          return effect;
        });
        const pulling = fixture.pull();
        const bodies = (): number =>
          image.layers.reduce(
            (sum, { descriptor }) => sum + fixture.requestsFor(descriptor.digest).length,
            0,
          );
        let seen = 0;
        const three = deferred();
        for (const { reached } of holds)
          void reached.promise.then(() => {
            seen += 1;
            if (seen === 3) three.resolve();
          });
        await three.promise;
        // A fourth would have been sent before this and arrived before its answer.
        await fetch(`${fixture.remote.url}/v2/`);
        assert.equal(bodies(), 3);
        for (const { release } of holds) release.resolve();
        await pulling;
      });
    });
  });
