/**
 * Layers through programs by `[stream_processors]`, of ours and of a real containerd: both must do the same. "Locked"
 * layers are base64; the key, where one is needed, comes with the call.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Digest, digestOf } from '../../src/base/digest.ts';
import { chainIds } from '../../src/oci/chain-id.ts';
import { rejectsWith } from '../../src/testing/assertions.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import {
  type BuiltImage,
  type BuiltLayer,
  buildImage,
  buildLayer,
  publish,
  treeTar,
} from '../../src/testing/registry/image-builder.ts';
import { TestRegistry } from '../../src/testing/registry/test-registry.ts';
import { Diff } from '../../src/wire/gen/containerd/services/diff/v1/diff_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { peerBinaries } from '../support/peers.ts';

const ociLayer = 'application/vnd.oci.image.layer.v1.tar';
const hasPeer = (await peerBinaries()) !== '/usr/bin';

const base = buildLayer({ 'etc/': {}, 'etc/base': 'base' });
const tar = treeTar({ 'etc/secret': 'hidden' });

/** The secret tar as the layer of that type. */
function layerOf(suffix: string, bytes: Buffer): BuiltLayer {
  const descriptor = { mediaType: `${ociLayer}+${suffix}`, digest: digestOf(bytes), sizeBytes: bytes.length };
  return { descriptor, bytes, diffId: digestOf(tar) };
}
const base64 = (bytes: Buffer): Buffer => Buffer.from(bytes.toString('base64'));
const imageOf = (layer: BuiltLayer): BuiltImage => buildImage([base, layer]);

/** By what they accept behind the type of a layer: what they return, and what they do. */
const programs: Readonly<Record<string, readonly [returns: string, script: string]>> = {
  locked: [`${ociLayer}+gzip`, 'base64 -d'],
  twice: [`${ociLayer}+locked`, 'base64 -d'],
  keyed: [ociLayer, '[ "$(tail -c 3 <&3)" = key ] || { echo wrong key >&2; exit 5; }; base64 -d'],
  told: [
    ociLayer,
    '[ "$STREAM_PROCESSOR_MEDIATYPE $MORE $*" = "application/vnd.oci.image.layer.v1.tar+told m -a b c" ] && cat',
  ],
  broken: [ociLayer, 'cat; echo went wrong >&2; exit 3'],
  absent: [ociLayer, ''],
};

for (const { name, start, skip } of [
  { name: 'gantryd', start: startGantry, skip: false },
  { name: 'containerd', start: startPeer, skip: hasPeer ? false : 'containerd 2 is not installed' },
])
  void describe(`stream processors of ${name}`, {
    skip: skip || needsRoot('it unpacks layers'),
    timeout: 60_000,
  }, () => {
    const dir = mkdtempSync(join(tmpdir(), 'gantry-processors-'));
    // containerd looks at the status without waiting for it, and so at times takes for good what a program left.
    const judgesEnd = name === 'gantryd';
    let daemon: Daemon;
    let registry: TestRegistry;

    before(async () => {
      registry = await TestRegistry.start({});
      const sections = Object.entries(programs).map(([id, [returns, script]]) => {
        const path = join(dir, id);
        if (script !== '') writeFileSync(path, `#!/bin/sh\n${script}\n`);
        if (script !== '') chmodSync(path, 0o755);
        return `[stream_processors."${id}"]\naccepts = ["${ociLayer}+${id}"]\nreturns = "${returns}"\npath = "${path}"\nargs = ["-a", "b c"]\nenv = ["MORE=m"]\n`;
      });
      daemon = await start({ config: sections.join('') });
    });
    after(async () => {
      await daemon?.[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    });

    const pull = async (image: BuiltImage, flags: readonly string[] = []) => {
      publish(registry.storage, 'a/b', '1', image);
      const reference = `${registry.host}/a/b:1`;
      return daemon.ctr.attempt(['images', 'pull', '--plain-http', ...flags, reference]);
    };
    const pulledError = async (layer: BuiltLayer): Promise<string> => {
      const { status, stderr } = await pull(imageOf(layer));
      assert.equal(status, 1);
      const chains = chainIds([base.diffId, layer.diffId]);
      assert.doesNotMatch(await daemon.ctr('snapshots', 'ls'), new RegExp(chains[1] as Digest));
      return stderr.split('\n').find((line) => line !== '') ?? '';
    };

    for (const { snapshotter, by, flags } of [
      { snapshotter: 'overlayfs', by: 'the daemon', flags: [] },
      { snapshotter: 'native', by: 'the client', flags: ['--local'] },
    ])
      void it(`a locked layer is unpacked by ${by} onto ${snapshotter}, over the one below`, async () => {
        const layer = layerOf('locked', base64(gzipSync(tar)));
        const pulled = await pull(imageOf(layer), ['--snapshotter', snapshotter, ...flags]);
        assert.equal(pulled.status, 0, pulled.stderr);
        const place = mkdtempSync(join(dir, 'mount-'));
        const reference = `${registry.host}/a/b:1`;
        await daemon.ctr('images', 'mount', '--snapshotter', snapshotter, reference, place);
        try {
          assert.equal(readFileSync(join(place, 'etc/secret'), 'utf8'), 'hidden');
          assert.equal(readFileSync(join(place, 'etc/base'), 'utf8'), 'base');
        } finally {
          await daemon.ctr('images', 'unmount', '--rm', '--snapshotter', snapshotter, place);
        }
        assert.match(
          await daemon.ctr('content', 'ls'),
          new RegExp(`${layer.descriptor.digest}.*containerd.io/uncompressed=${layer.diffId}`),
        );
        await daemon.ctr('images', 'rm', '--sync', reference);
      });

    void it('goes through several, and each has its words', async () => {
      const twice = layerOf('twice', base64(base64(gzipSync(tar))));
      assert.equal((await pull(imageOf(twice))).status, 0);
      await daemon.ctr('images', 'rm', '--sync', `${registry.host}/a/b:1`);
      assert.equal((await pull(imageOf(layerOf('told', tar)))).status, 0);
      await daemon.ctr('images', 'rm', '--sync', `${registry.host}/a/b:1`);
    });

    void it('what a program says when it fails reaches the client, and there is no snapshot', async () => {
      if (judgesEnd) assert.match(await pulledError(layerOf('broken', tar)), /: went wrong$/);
      assert.match(
        await pulledError(layerOf('absent', tar)),
        new RegExp(
          `: failed to get stream processor for .*\\+absent: fork/exec ${dir}/absent: no such file or directory$`,
        ),
      );
      assert.match(
        await pulledError(layerOf('gzip+encrypted', tar)),
        /: failed to get stream processor for .*: exec: "ctd-decoder": executable file not found in \$PATH$/,
      );
    });

    void it('Apply hands the payload of a processor to it, and tells the plain tar', async () => {
      await using connection = connectGrpc(daemon.address, { namespace: 'default' });
      const diff = connection.client(Diff);
      const layer = layerOf('keyed', base64(tar));
      publish(registry.storage, 'a/b', 'keyed', imageOf(layer));
      // Fetched and not unpacked; the image keeps it from collection.
      await daemon.ctr('content', 'fetch', '--plain-http', `${registry.host}/a/b:keyed`);
      const { digest, mediaType, sizeBytes } = layer.descriptor;
      const root = mkdtempSync(join(dir, 'root-'));
      const apply = (payloads: Record<string, { typeUrl: string; value: Uint8Array }>) =>
        diff.apply({
          diff: { mediaType, digest, size: BigInt(sizeBytes) },
          mounts: [{ type: 'bind', source: root, target: '', options: ['rw', 'rbind'] }],
          payloads,
        });
      const payload = (text: string) => ({ typeUrl: 'some.Type', value: Buffer.from(text) });
      if (judgesEnd) {
        await rejectsWith(apply({ keyed: payload('not') }), 'Unknown', /wrong key$/);
        await rejectsWith(apply({ other: payload('key') }), 'Unknown', /wrong key$/);
      }
      const { applied } = await apply({ keyed: payload('the key') });
      assert.deepEqual(
        [applied?.mediaType, applied?.digest, applied?.size],
        [ociLayer, digestOf(tar), BigInt(tar.length)],
      );
    });
  });
