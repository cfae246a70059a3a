/**
 * Archives by unmodified ctr: what goes into ours and into the peer comes out of both as the same bytes, over the
 * transfer service (ctr 2.1) and made by the client out of our content and images services (`--local`, and ctr 1.6).
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { digestHex } from '../../src/base/digest.ts';
import { descriptorJson } from '../../src/oci/descriptor.ts';
import { hostPlatform } from '../../src/oci/platform.ts';
import {
  type BuiltImage,
  buildImage,
  buildIndex,
  buildLayer,
  treeTar,
} from '../../src/testing/registry/image-builder.ts';
import { type Ctr, ctrOf, debianCtr } from '../support/ctr.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';

const nameOf = ({ digest }: BuiltImage['descriptor']): string => `blobs/sha256/${digestHex(digest)}`;

const blobsOf = (image: BuiltImage): Record<string, Buffer> => ({
  ...Object.fromEntries(image.layers.map(({ descriptor, bytes }) => [nameOf(descriptor), bytes])),
  [nameOf(image.configDescriptor)]: image.config,
  [nameOf(image.descriptor)]: image.manifest,
});

/** Two platforms under one name, and one image under a bare tag. */
function layout(): Buffer {
  const images = [
    buildImage([{ a: 'other' }], { platform: { os: 'linux', architecture: 'riscv64' } }),
    buildImage([{ a: 'host' }, { 'etc/': {}, 'etc/b': 'b' }], { platform: hostPlatform() }),
  ];
  const single = buildImage([{ single: 'yes' }], { platform: hostPlatform() });
  const index = buildIndex(images);
  const name = { 'io.containerd.image.name': 'docker.io/library/both:1', 'z.example': 'kept', a: 'kept' };
  const manifests = [
    { ...index.descriptor, annotations: name },
    { ...single.descriptor, annotations: { 'org.opencontainers.image.ref.name': 'bare' } },
  ];
  return treeTar({
    ...Object.assign({}, ...[...images, single].map(blobsOf)),
    [nameOf(index.descriptor)]: index.bytes,
    'index.json': JSON.stringify({ schemaVersion: 2, manifests: manifests.map(descriptorJson) }),
    'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
  });
}

/** As docker saved before version 25: plain layers of any name, an equal one as a link, several tags. */
function dockerArchive(): Buffer {
  const layer = buildLayer({ a: 'a' }, { compression: 'none' });
  const image = buildImage([layer, layer], { platform: hostPlatform(), docker: true });
  return treeTar({
    'one/layer.tar': layer.bytes,
    'two/layer.tar': { kind: 'symlink', link: '../one/layer.tar' },
    'config.json': image.config,
    'manifest.json': JSON.stringify([
      {
        Config: 'config.json',
        RepoTags: ['sample:1', 'other.example:5000/x:2'],
        Layers: ['one/layer.tar', 'two/layer.tar'],
      },
    ]),
  });
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

const archives = { layout: layout(), docker: dockerArchive() };

void describe('archives by ctr, ours against the peer', () => {
  let dir: string;
  let ours: Daemon;
  let peer: Daemon;
  let namespaces = 0;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gantry-archives-'));
    for (const [name, bytes] of Object.entries(archives)) await writeFile(join(dir, name), bytes);
    ours = await startGantry();
    peer = await startPeer();
  });
  after(async () => {
    await ours?.[Symbol.asyncDispose]();
    await peer?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  /** The images after an import, and the digest of each export. */
  async function passThrough(
    ctr: Ctr,
    imported: readonly string[],
    exported: readonly (readonly string[])[],
  ): Promise<string[]> {
    const inside = ['-n', `archive-${(namespaces += 1)}`];
    await ctr(...inside, 'images', 'import', ...imported);
    const names = (await ctr(...inside, 'images', 'ls', '-q')).trim().split('\n');
    const result = [await ctr(...inside, 'images', 'ls')];
    const out = join(dir, 'exported');
    // One by one: in which order containerd names several to docker is left to chance.
    for (const options of exported)
      for (const name of names) {
        await ctr(...inside, 'images', 'export', ...options, out, name);
        result.push(`${options.join(' ')} ${name}: ${sha256(await readFile(out))}`);
      }
    return result;
  }

  const platform = ['--platform', 'linux/amd64'];
  const imports: [name: string, options: string[]][] = [
    ['layout', ['--base-name', 'base/name']],
    ['layout', ['--base-name', 'base/name', '--digests']],
    ['layout', ['--no-unpack']],
    ['docker', []],
    ['docker', ['--digests', '--base-name', 'a/b']],
  ];
  for (const [name, options] of imports) {
    void it(`${name} by the transfer service: ${options.join(' ') || 'as it is'}`, async () => {
      const exports = [[], ['--skip-manifest-json'], platform, ['--skip-non-distributable']];
      const archive = [...options, join(dir, name)];
      const actual = await passThrough(ours.ctr, archive, exports);
      // ctr ends before the peer's stream does, and so may leave a part of the archive: the client's own way cannot.
      const local = exports.map((flags) => [...flags, '--local']);
      const expected = await passThrough(peer.ctr, archive, local);
      assert.deepEqual(
        actual,
        expected.map((line) => line.replace(/ ?--local/, '')),
      );
    });
    void it(`${name} by the client: ${options.join(' ') || 'as it is'}`, async () => {
      const archive = ['--local', ...options, join(dir, name)];
      const exports = [['--local'], ['--local', ...platform]];
      const actual = await passThrough(ours.ctr, archive, exports);
      assert.deepEqual(actual, await passThrough(peer.ctr, archive, exports));
    });
  }
  for (const name of ['layout', 'docker'])
    void it(`${name} by ctr 1.6`, async () => {
      const archive = ['--base-name', 'base/name', join(dir, name)];
      const exports = [[], platform];
      const actual = await passThrough(ctrOf(debianCtr, ours.address), archive, exports);
      assert.deepEqual(actual, await passThrough(ctrOf(debianCtr, peer.address), archive, exports));
    });

  void it('fifty exports in a row are whole', async () => {
    const inside = ['-n', 'often'];
    await ours.ctr(...inside, 'images', 'import', join(dir, 'docker'));
    const digests = new Set<string>();
    for (let turn = 0; turn < 50; turn += 1) {
      const out = join(dir, `often-${turn}`);
      await ours.ctr(...inside, 'images', 'export', out, 'docker.io/library/sample:1');
      digests.add(sha256(await readFile(out)));
    }
    assert.equal(digests.size, 1);
  });
});
