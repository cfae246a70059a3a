/** Pulls of images with layers that go through stream processors, beside layers that are unpacked while they come. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { digestOf } from '../../base/digest.ts';
import { chainIds } from '../../oci/chain-id.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { rejectsWith } from '../../testing/assertions.ts';
import { needsLinux } from '../../testing/needs-root.ts';
import {
  type BuiltImage,
  type BuiltLayer,
  buildImage,
  buildLayer,
  type FileTree,
  publish,
} from '../../testing/registry/image-builder.ts';
import { ociLayerGzip } from '../diff/layer-media-type.ts';
import type { StreamProcessor } from '../diff/stream-processor.ts';
import { noise, TransferFixture } from './transfer.fixture.ts';

const locked = `${ociLayerGzip}+locked`;

/** "Locked" is base64. */
function lockedLayer(tree: FileTree): BuiltLayer {
  const { bytes: open, diffId } = buildLayer(tree);
  const bytes = Buffer.from(open.toString('base64'));
  return {
    bytes,
    diffId,
    descriptor: { mediaType: locked, digest: digestOf(bytes), sizeBytes: bytes.length },
  };
}

const unlock: StreamProcessor = {
  id: 'unlock',
  accepts: [locked],
  returns: ociLayerGzip,
  path: 'base64',
  args: ['-d'],
  env: {},
};

const sample = (): BuiltImage =>
  buildImage(
    [
      buildLayer({ 'etc/': {}, 'etc/base': 'base', 'etc/gone': 'x', noise: noise(300_000, 1) }),
      lockedLayer({
        'etc/secret': 'hidden',
        'etc/.wh.gone': '',
        'etc/link': { kind: 'hardlink', link: 'etc/base' },
        more: noise(300_000, 2),
      }),
      buildLayer({ 'etc/top': 'top' }),
    ],
    { platform: hostPlatform() },
  );

for (const snapshotter of ['overlayfs', 'native'] as const)
  void describe(`pulls through stream processors onto ${snapshotter}`, {
    skip: needsLinux('it mounts'),
  }, () => {
    void it('unpack what the program makes of a layer', async () => {
      await using fixture = await TransferFixture.make({ snapshotter, streamProcessors: [unlock] });
      const image = sample();
      publish(fixture.remote.storage, 'sample', 'latest', image);
      await fixture.pull();
      assert.equal((await fixture.snapshots()).length, 3);
      const chains = chainIds(image.layers.map(({ diffId }) => diffId));
      const root = await fixture.rootOf(chains[1]!);
      assert.equal(readFileSync(join(root, 'etc/secret'), 'utf8'), 'hidden');
      assert.equal(readFileSync(join(root, 'etc/link'), 'utf8'), 'base');
      assert.deepEqual(readFileSync(join(root, 'more')), noise(300_000, 2));
    });

    void it('a program that fails leaves no image and no snapshot of its layer', async () => {
      const broken = { ...unlock, path: 'sh', args: ['-c', 'base64 -d; echo no key >&2; exit 1'] };
      await using fixture = await TransferFixture.make({ snapshotter, streamProcessors: [broken] });
      const image = sample();
      publish(fixture.remote.storage, 'sample', 'latest', image);
      await rejectsWith(fixture.pull(), 'Unknown', /stream processor unlock ended with status 1: no key$/);
      await fixture.assertNothingLeft([image.descriptor]);
      const chains = chainIds(image.layers.map(({ diffId }) => diffId));
      const keys: string[] = (await fixture.snapshots()).map(({ key }) => key);
      for (const chain of chains.slice(1)) assert.ok(!keys.includes(chain));
    });

    void it('what the program makes must be what the image says', async () => {
      const wrong = {
        ...unlock,
        path: 'sh',
        args: ['-c', 'base64 -d | gunzip | sed s/hidden/forged/ | gzip'],
      };
      await using fixture = await TransferFixture.make({ snapshotter, streamProcessors: [wrong] });
      publish(fixture.remote.storage, 'sample', 'latest', sample());
      await rejectsWith(fixture.pull(), 'FailedPrecondition', /wrong diff id/);
    });
  });
