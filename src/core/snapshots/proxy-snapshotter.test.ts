import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { background, withNamespace } from '../../base/context.ts';
import { hasCode } from '../../base/errors.ts';
import { parseNamespace, parseSnapshotKey } from '../../base/identifiers.ts';
import { silentLogger } from '../../base/logger.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { remotePlugin, servedSnapshotter, servePlugin } from '../../testing/remote-plugin.ts';
import { until } from '../../testing/until.ts';
import { Snapshots } from '../../wire/gen/containerd/services/snapshots/v1/snapshots_pb.js';
import { serve } from '../../wire/service.ts';
import { RemotePlugin } from '../plugins/remote-plugin.ts';
import { makeBackend } from './backend.fixture.ts';
import { NativeSnapshotter } from './native.ts';
import { OverlayfsSnapshotter } from './overlayfs.ts';
import { ProxySnapshotter } from './proxy-snapshotter.ts';
import { type SuiteSubject, snapshotterSuite } from './snapshotter.suite.ts';

const ctx = withNamespace(background(silentLogger), parseNamespace('default'));
const key = parseSnapshotKey;
const options = { name: 'far', capabilities: [] };

async function makeProxied(
  Implementation: typeof NativeSnapshotter | typeof OverlayfsSnapshotter,
): Promise<SuiteSubject> {
  await using cleanup = new AsyncDisposableStack();
  const { snapshotter } = cleanup.use(await makeBackend(Implementation));
  const { remote } = cleanup.use(await remotePlugin([servedSnapshotter('far', snapshotter)]));
  const held = cleanup.move();
  return {
    ctx,
    snapshotter: new ProxySnapshotter({ remote }, options),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

snapshotterSuite('native by proxy', () => makeProxied(NativeSnapshotter));
snapshotterSuite('overlayfs by proxy', () => makeProxied(OverlayfsSnapshotter));

void it('a program that is not there is Unavailable, by plugin and address; when it comes it is found', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'g-late-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true }));
  const address = join(directory, 'late.sock');
  const remote = cleanup.use(new RemotePlugin({ plugin: 'io.containerd.snapshotter.v1.far', address }));
  const snapshotter = new ProxySnapshotter({ remote }, options);
  const words = new RegExp(
    `ENOENT.*\\(proxy plugin io\\.containerd\\.snapshotter\\.v1\\.far at ${address}\\)$`,
    's',
  );
  await rejectsWith(snapshotter.stat(ctx, key('a')), 'Unavailable', words);
  await rejectsWith(Array.fromAsync(snapshotter.list(ctx, [])), 'Unavailable', words);
  const { snapshotter: backend } = cleanup.use(await makeBackend(NativeSnapshotter));
  cleanup.use(await servePlugin([servedSnapshotter('far', backend)], address));
  await until('the pause between two tries to connect is over', () =>
    snapshotter.prepare(ctx, key('a'), {}).then(
      () => true,
      (error: unknown) => {
        if (!hasCode(error, 'Unavailable')) throw error;
        return false;
      },
    ),
  );
  assert.equal((await snapshotter.stat(ctx, key('a'))).kind, 'active');
});

void it('answers that make no sense are refused', async () => {
  await using made = await remotePlugin([
    serve(Snapshots, {
      stat: async () => ({ info: { name: 'a' } }),
      usage: async () => ({ size: -1n, inodes: 0n }),
    }),
  ]);
  const snapshotter = new ProxySnapshotter(made, options);
  await rejectsWith(snapshotter.stat(ctx, key('a')), 'DataLoss');
  await rejectsWith(snapshotter.usage(ctx, key('a')), 'InvalidArgument');
  await rejectsWith(snapshotter.cleanup(ctx), 'Unimplemented');
});

void it('the namespace travels and the lease does not; without one, none', async () => {
  const seen: unknown[] = [];
  await using made = await remotePlugin([
    serve(Snapshots, {
      remove: async ({ namespace, lease }) => {
        seen.push([namespace, lease]);
        return {};
      },
    }),
  ]);
  const snapshotter = new ProxySnapshotter(made, options);
  await snapshotter.remove({ ...ctx, lease: 'l' as never }, key('a'));
  await snapshotter.remove(background(silentLogger), key('a'));
  assert.deepEqual(seen, [
    ['default', undefined],
    [undefined, undefined],
  ]);
});
