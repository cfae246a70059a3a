/** Pulls that are interrupted, whose daemon is killed, or that meet each other in one daemon. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { deferred } from '../../src/base/deferred.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { hostPlatform } from '../../src/oci/platform.ts';
import { buildImage, publish } from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';

const gantry = join(import.meta.dirname, '../../bin/gantry');

describe('a pull', { concurrency: 1 }, () => {
  let daemon: Daemon;
  let registry: TestRegistry;
  let made = 0;
  before(async () => {
    registry = await TestRegistry.start();
    daemon = await startGantry();
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  /** Layers that no other test has, so that each pull has all to do. */
  const publishNew = (layers: number, bytesEach: number): { reference: string; layers: Descriptor[] } => {
    made += 1;
    const trees = Array.from({ length: layers }, (_value, index) =>
      Object.fromEntries(
        Array.from({ length: 20 }, (_file, file) => [
          `layer-${index}/file-${file}`,
          Buffer.alloc(bytesEach / 20, `${made} ${index} ${file} `),
        ]),
      ),
    );
    const image = buildImage(trees, { platform: hostPlatform(), compression: 'none' });
    publish(registry.storage, `image-${made}`, 'latest', image);
    return {
      reference: `${registry.host}/image-${made}:latest`,
      layers: image.layers.map(({ descriptor }) => descriptor),
    };
  };
  const ctrPull = (reference: string) =>
    spawn(daemon.ctr.binary, ['-a', daemon.address, 'images', 'pull', '--plain-http', reference], {
      stdio: 'ignore',
    });
  /** Without a lease of the client's own, as ctr has one. */
  const gantryPull = (reference: string) =>
    spawn(gantry, ['--address', daemon.address, 'pull', '--plain-http', reference], { stdio: 'ignore' });
  const hold = (layer: Descriptor, afterBytes: number) => {
    const effect = { kind: 'hold', afterBytes, reached: deferred(), release: deferred() } as const;
    registry.faults.add({ path: layer.digest, method: 'GET', effect });
    return effect;
  };
  const requestsFor = ({ digest }: Descriptor) =>
    registry.requests.filter(({ method, path }) => method === 'GET' && path.includes(digest));
  /** In the words of `ctr content active`: the bytes of the layer's ingest. */
  const hasIngested = async ({ digest }: Descriptor): Promise<boolean> =>
    new RegExp(`layer-${digest}\\s+[1-9]`).test(await daemon.ctr('content', 'active'));
  const assertWhole = async (reference: string): Promise<void> => {
    const check = await daemon.ctr('images', 'check', `name==${reference}`);
    assert.match(check, /complete \((\d+)\/\1\).*true/);
    assert.equal((await daemon.ctr('leases', 'ls', '-q')).trim(), '');
    await until('nothing is under way', async () => {
      const [snapshots, active] = [
        await daemon.ctr('snapshots', 'ls'),
        await daemon.ctr('content', 'active'),
      ];
      return !snapshots.includes('Active') && !active.includes('sha256:');
    });
  };

  test('that its client interrupts leaves no snapshot, and the next goes on where it was', async () => {
    const { reference, layers } = publishNew(2, 400_000);
    const top = layers[1]!;
    const effect = hold(top, 300_000);
    const client = ctrPull(reference);
    await effect.reached.promise;
    await until('some of the layer is stored', () => hasIngested(top));
    client.kill('SIGINT');
    await once(client, 'exit');
    effect.release.resolve();
    await until(
      'no snapshot is active',
      async () => !(await daemon.ctr('snapshots', 'ls')).includes('Active'),
    );
    assert.doesNotMatch(await daemon.ctr('images', 'ls', '-q'), new RegExp(reference));

    await daemon.ctr('images', 'pull', '--plain-http', reference);
    assert.match(requestsFor(top)[1]?.headers.range ?? '', /^bytes=[1-9]\d*-$/);
    // The interrupted client could not give its lease back.
    for (const lease of (await daemon.ctr('leases', 'ls', '-q')).trim().split('\n'))
      await daemon.ctr('leases', 'delete', '--sync', lease);
    await assertWhole(reference);
  });

  test('whose daemon is killed goes on after its restart', async () => {
    const { reference, layers } = publishNew(2, 400_000);
    const top = layers[1]!;
    const effect = hold(top, 300_000);
    const client = gantryPull(reference);
    await effect.reached.promise;
    await until('some of the layer is stored, and the other whole', async () => {
      const content = await daemon.ctr('content', 'ls', '-q');
      return content.includes(layers[0]!.digest) && (await hasIngested(top));
    });
    await daemon.kill();
    await once(client, 'exit');
    effect.release.resolve();
    await daemon.start();
    await daemon.ctr('images', 'pull', '--plain-http', reference);
    assert.match(requestsFor(top)[1]?.headers.range ?? '', /^bytes=[1-9]\d*-$/);
    assert.equal(requestsFor(layers[0]!).length, 1);
    await assertWhole(reference);
  });

  test('whose daemon is killed at any moment can be had whole in the end', { timeout: 120_000 }, async () => {
    const { reference } = publishNew(5, 8_000_000);
    const asked = (count: number) => {
      const earlier = registry.requests.length;
      return async () => registry.requests.length >= earlier + count;
    };
    const extracts = async () => (await daemon.ctr('snapshots', 'ls')).includes('Active');
    for (const moment of [() => asked(1), () => asked(2), () => asked(3), () => extracts, () => extracts]) {
      const reached = moment();
      const client = gantryPull(reference);
      const ended = once(client, 'exit');
      await until('the moment has come, or all is over', async () => client.exitCode !== null || reached(), {
        everyMs: 1,
      });
      await daemon.kill();
      await ended;
      await daemon.start();
    }
    await daemon.ctr('images', 'pull', '--plain-http', reference);
    await assertWhole(reference);
  });

  test('beside others of the same image fetches each layer once', async () => {
    const { reference, layers } = publishNew(4, 1_000_000);
    await Promise.all(
      Array.from({ length: 5 }, () => daemon.ctr('images', 'pull', '--plain-http', reference)),
    );
    for (const layer of layers) assert.equal(requestsFor(layer).length, 1);
    await assertWhole(reference);
  });

  test('can be pushed, tagged, and pulled from where it was pushed', async () => {
    const { reference } = publishNew(3, 100_000);
    await daemon.ctr('images', 'pull', '--plain-http', reference);
    const copy = `${registry.host}/copy:v1`;
    await daemon.ctr('images', 'push', '--plain-http', copy, reference);
    assert.deepEqual(registry.storage.tags('copy'), ['v1']);
    await daemon.ctr('images', 'tag', reference, 'tagged:1');
    await daemon.ctr('images', 'rm', '--sync', reference, 'tagged:1');
    await daemon.ctr('images', 'pull', '--plain-http', copy);
    await assertWhole(copy);
  });
});
