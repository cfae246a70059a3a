/** Pulls of images that lie about what they are: refused by name, and nothing of them is left. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Digest, digestOf } from '../../base/digest.ts';
import { limits } from '../../base/limits.ts';
import { chainIds } from '../../oci/chain-id.ts';
import { type Descriptor, descriptorJson } from '../../oci/descriptor.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import { hostPlatform } from '../../oci/platform.ts';
import {
  type BuiltImage,
  buildImage,
  buildIndex,
  buildLayer,
  descriptorOf,
  publish,
} from '../../testing/registry/image-builder.ts';
import { noise, TransferFixture } from './transfer.fixture.ts';

const chainsOf = (image: BuiltImage): Digest[] => chainIds(image.layers.map(({ diffId }) => diffId));

void describe('images that lie', () => {
  void it('about a diffID: the layer is not committed, both digests are named', async () => {
    await using fixture = await TransferFixture.make();
    const [bottom, top] = [buildLayer({ a: 'a' }), buildLayer({ b: 'b' })];
    const wrong = digestOf('something else');
    const image = buildImage([bottom, top], { platform: hostPlatform(), diffIds: [bottom.diffId, wrong] });
    publish(fixture.remote.storage, 'sample', 'latest', image);
    await assert.rejects(fixture.pull(), ({ code, message }: Error & { code: string }) => {
      assert.equal(code, 'FailedPrecondition');
      assert.ok(message.includes(wrong) && message.includes(top.diffId), message);
      return true;
    });
    await fixture.assertNothingLeft([]);
    assert.deepEqual(
      (await fixture.snapshots()).map(({ key }) => key as string),
      [bottom.diffId],
    );
  });

  const refused: Record<string, (fixture: TransferFixture) => { code: string; message?: RegExp }> = {
    'about how many layers there are': ({ remote }) => {
      const image = buildImage([{ a: 'a' }], { platform: hostPlatform(), diffIds: [] });
      publish(remote.storage, 'sample', 'latest', image);
      return { code: 'InvalidArgument', message: /1 layers .*0 diffIDs/ };
    },
    'by being no JSON': ({ remote }) => {
      remote.storage.addManifest('sample', mediaTypes.ociManifest, Buffer.from('{"config":'), 'latest');
      return { code: 'InvalidArgument', message: /not valid JSON/ };
    },
    'by being an index that has layers': ({ remote }) => {
      const bytes = Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[]}');
      remote.storage.addManifest('sample', mediaTypes.ociIndex, bytes, 'latest');
      return { code: 'InvalidArgument', message: /announced as an index/ };
    },
    'about the size of a layer': ({ remote }) => {
      const layer = buildLayer({ a: noise(3000, 7) });
      const short = { ...layer, descriptor: { ...layer.descriptor, sizeBytes: 100 } };
      publish(remote.storage, 'sample', 'latest', buildImage([short], { platform: hostPlatform() }));
      return { code: 'Unavailable', message: /100/ };
    },
    'about the path of a file': ({ remote }) => {
      const image = buildImage([{ '../../../../tmp/escaped': 'x' }], { platform: hostPlatform() });
      publish(remote.storage, 'sample', 'latest', image);
      return { code: 'InvalidArgument', message: /escaped/ };
    },
    'about being a layer at all': ({ remote }) => {
      const layer = buildLayer(Buffer.from('this is no tar archive, whatever it says'.repeat(50)));
      publish(remote.storage, 'sample', 'latest', buildImage([layer], { platform: hostPlatform() }));
      return { code: 'InvalidArgument' };
    },
    'with a manifest that is too large': ({ remote }) => {
      const bytes = Buffer.alloc(limits.manifestBytes + 1, ' ');
      remote.storage.addManifest('sample', mediaTypes.ociManifest, bytes, 'latest');
      return { code: 'InvalidArgument', message: /more than the \d+ allowed/ };
    },
    "by being of Docker's schema 1": ({ remote }) => {
      remote.storage.addManifest('sample', mediaTypes.dockerSchema1Signed, Buffer.from('{}'), 'latest');
      return { code: 'InvalidArgument', message: /schema 1/ };
    },
    'with indexes nested without end': ({ remote }) => {
      let inner = descriptorOf(mediaTypes.ociManifest, Buffer.from('{}'));
      for (let depth = 0; depth < limits.indexDepth + 2; depth += 1) {
        const index = buildIndex([], { extra: [inner] });
        remote.storage.addManifest('sample', mediaTypes.ociIndex, index.bytes, 'latest');
        inner = index.descriptor;
      }
      return { code: 'InvalidArgument', message: /indexes within each other/ };
    },
    'with a digest of an unknown kind': ({ remote }) => {
      const layer = { mediaType: mediaTypes.ociLayerGzip, digest: 'md5:00', size: 1 };
      const config = descriptorJson(descriptorOf(mediaTypes.ociConfig, Buffer.from('{}')));
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [layer] }));
      remote.storage.addManifest('sample', mediaTypes.ociManifest, bytes, 'latest');
      return { code: 'InvalidArgument', message: /md5/ };
    },
    'with a layer that none can extract': ({ remote }) => {
      const layer = buildLayer({ a: 'a' });
      const odd = {
        ...layer,
        descriptor: { ...layer.descriptor, mediaType: 'application/vnd.oci.image.layer.v1.tar+lz9' },
      };
      publish(remote.storage, 'sample', 'latest', buildImage([odd], { platform: hostPlatform() }));
      return { code: 'Unimplemented', message: /lz9/ };
    },
  };
  for (const [what, arrange] of Object.entries(refused))
    void it(`${what} are refused`, async () => {
      await using fixture = await TransferFixture.make();
      const expected = arrange(fixture);
      await assert.rejects(fixture.pull(), expected);
      await fixture.assertNothingLeft([]);
    });

  void it('with indexes that name each other many times over cost no more than what they are', async () => {
    await using fixture = await TransferFixture.make();
    const { storage } = fixture.remote;
    const mine = buildImage([{ a: 'a' }], { platform: hostPlatform() });
    publish(storage, 'sample', 'inner', mine);
    let inner: Descriptor = mine.descriptor;
    for (let depth = 0; depth < limits.indexDepth; depth += 1) {
      const index = buildIndex([], { extra: Array.from({ length: 50 }, () => inner) });
      storage.addManifest('sample', mediaTypes.ociIndex, index.bytes, 'latest');
      inner = index.descriptor;
    }
    await fixture.pull();
    assert.deepEqual(
      (await fixture.snapshots()).map(({ key }) => key as string),
      chainsOf(mine),
    );
  });

  void it('but name one layer twice get it twice in the chain and once over the network', async () => {
    await using fixture = await TransferFixture.make();
    const layer = buildLayer({ a: 'a' });
    const image = buildImage([layer, layer, layer], { platform: hostPlatform() });
    publish(fixture.remote.storage, 'sample', 'latest', image);
    await fixture.pull();
    assert.equal((await fixture.snapshots()).length, 3);
    assert.equal(fixture.requestsFor(layer.descriptor.digest).length, 1);
  });
});
