/** Images out to archives and in from them: OCI layouts, what docker save writes, and what nobody should. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type Digest, digestHex, digestOf } from '../../base/digest.ts';
import { hasCode } from '../../base/errors.ts';
import { parseImageName } from '../../base/identifiers.ts';
import { chainIds } from '../../oci/chain-id.ts';
import { descriptorJson } from '../../oci/descriptor.ts';
import { mediaTypes } from '../../oci/media-types.ts';
import { hostPlatform } from '../../oci/platform.ts';
import {
  type BuiltImage,
  buildImage,
  buildLayer,
  type FileTree,
  publish,
  treeTar,
} from '../../testing/registry/image-builder.ts';
import { importedNames } from './imported-names.ts';
import { TransferFixture } from './transfer.fixture.ts';
import type { ImageDestination, ImageReferenceRule } from './transfer.ts';
import type { ArchiveDestination } from './transfer-archive.ts';

const platform = hostPlatform();
const sample = (mark = ''): BuiltImage =>
  buildImage([{ 'etc/': {}, 'etc/base': mark }, { 'etc/top': `top ${mark}` }], { platform });
const anyName: ImageReferenceRule = {
  name: 'imported',
  isPrefix: true,
  allowOverwrite: true,
  addDigest: false,
  skipNamedDigest: false,
};

async function exported(
  fixture: TransferFixture,
  names: readonly string[],
  options: Partial<ArchiveDestination> = {},
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const extraReferences = names.map((name) => ({ ...anyName, name, isPrefix: false }));
  await fixture.transfers.exporter.export(
    fixture.ctx,
    { name: '', extraReferences },
    {
      write: async (bytes) => {
        for await (const chunk of bytes) chunks.push(chunk);
      },
      platforms: [],
      allPlatforms: false,
      skipCompatibilityManifest: false,
      skipNonDistributable: false,
      ...options,
    },
    () => {},
  );
  return Buffer.concat(chunks);
}

function imported(
  fixture: TransferFixture,
  archive: Buffer,
  into: Partial<ImageDestination> = {},
  forceCompress = false,
): Promise<readonly string[]> {
  const bytes = (async function* () {
    for (let at = 0; at < archive.byteLength; at += 1000) yield archive.subarray(at, at + 1000);
  })();
  return fixture.transfers.importer.import(
    fixture.ctx,
    { bytes, forceCompress },
    {
      name: '',
      labels: {},
      platforms: [],
      allMetadata: false,
      manifestLimit: 0,
      unpacks: [{ snapshotter: 'native' }],
      extraReferences: [anyName],
      ...into,
    },
    () => {},
  );
}

const nameOf = (digest: Digest): string => `blobs/sha256/${digestHex(digest)}`;
const layoutOf = (image: BuiltImage, more: FileTree = {}): FileTree => ({
  ...Object.fromEntries(image.layers.map(({ descriptor, bytes }) => [nameOf(descriptor.digest), bytes])),
  [nameOf(image.configDescriptor.digest)]: image.config,
  [nameOf(image.descriptor.digest)]: image.manifest,
  'index.json': JSON.stringify({
    schemaVersion: 2,
    manifests: [
      descriptorJson({ ...image.descriptor, annotations: { 'org.opencontainers.image.ref.name': 'v1' } }),
    ],
  }),
  'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
  ...more,
});

/** As docker before 25 saved: directories by any name, plain layers, an equal layer as a link. */
function dockerArchive(): { tar: Buffer; image: BuiltImage } {
  const layers = [
    buildLayer({ a: 'a' }, { compression: 'none' }),
    buildLayer({ b: 'b' }, { compression: 'none' }),
  ];
  const image = buildImage([layers[0]!, layers[1]!, layers[0]!], { platform, docker: true });
  const tar = treeTar({
    'one/': {},
    'one/layer.tar': layers[0]!.bytes,
    'two/layer.tar': layers[1]!.bytes,
    'three/layer.tar': { kind: 'symlink', link: '../one/layer.tar' },
    'config.json': image.config,
    'manifest.json': JSON.stringify([
      {
        Config: 'config.json',
        RepoTags: ['sample:1', 'other.example/x:2'],
        Layers: ['one/layer.tar', 'two/layer.tar', 'three/layer.tar'],
      },
    ]),
  });
  return { tar, image };
}

void describe('export and import', () => {
  void it('an exported image comes in as it went out', async () => {
    await using from = await TransferFixture.make();
    const images = [sample('1'), sample('2')];
    const targets = [
      publish(from.remote.storage, 'sample', 'latest', [images[0]!]),
      publish(from.remote.storage, 'sample', 'other', images[1]!),
    ];
    const names = [from.reference(), from.reference('sample:other')];
    for (const name of names) await from.pull({}, name);
    const archive = await exported(from, names);

    await using to = await TransferFixture.make();
    assert.deepEqual(await imported(to, archive), names);
    for (const [index, name] of names.entries()) {
      const { target } = await to.store.images.get(to.ctx, parseImageName(name));
      assert.equal(target.digest, targets[index]!.digest);
      const top = chainIds(images[index]!.layers.map(({ diffId }) => diffId)).at(-1)!;
      assert.equal(readFileSync(join(await to.rootOf(top), 'etc/base'), 'utf8'), String(index + 1));
    }
    assert.deepEqual(await to.store.leases.list(to.ctx, []), []);
    assert.deepEqual(await to.store.content.listStatuses(to.ctx, []), []);
    // What the names keep alive is all there is after a collection: the archive's own index goes.
    await to.collector.run(to.ctx);
    assert.deepEqual((await to.digests()).toSorted(), (await from.digests()).toSorted());
  });

  void it('an export holds each blob once, and what docker load reads', async () => {
    await using fixture = await TransferFixture.make();
    publish(fixture.remote.storage, 'sample', 'latest', sample());
    await fixture.pull();
    await fixture.pull({ name: 'again' });
    const archive = await exported(fixture, [fixture.reference(), 'again']);
    await using other = await TransferFixture.make();
    await imported(other, archive);
    const layer = nameOf(sample().layers[0]!.descriptor.digest);
    const text = archive.toString('latin1');
    // A name in a tar header ends in a zero byte.
    assert.equal(text.split(`${layer}\0`).length - 1, 1);
    const repoTags = /"RepoTags":(\[[^\]]*\])/.exec(text)?.[1] ?? '[]';
    assert.ok((JSON.parse(repoTags) as string[]).includes(fixture.reference()), repoTags);
    const bare = await exported(fixture, ['again'], { skipCompatibilityManifest: true });
    assert.ok(!bare.includes('manifest.json'));
  });

  void it('an export of what is not all there fails before its first byte', async () => {
    await using fixture = await TransferFixture.make();
    publish(fixture.remote.storage, 'sample', 'latest', sample());
    await fixture.pull({ unpacks: [] });
    await fixture.store.content.delete(fixture.ctx, sample().layers[0]!.descriptor.digest);
    const write = (): Promise<void> => assert.fail('nothing must be written');
    await assert.rejects(exported(fixture, [fixture.reference()], { write }), (error) =>
      hasCode(error, 'NotFound'),
    );
    await assert.rejects(exported(fixture, ['absent'], { write }), (error) => hasCode(error, 'NotFound'));
    await assert.rejects(exported(fixture, [], { write }), (error) => hasCode(error, 'InvalidArgument'));
  });
});

void describe('import', () => {
  for (const [kind, pack] of [
    ['plain', (tar: Buffer) => tar],
    ['gzip', (tar: Buffer) => gzipSync(tar)],
    ['zstd', (tar: Buffer) => zstdCompressSync(tar)],
  ] as const)
    void it(`takes a layout that is packed as ${kind}`, async () => {
      await using fixture = await TransferFixture.make();
      const names = await imported(fixture, pack(treeTar(layoutOf(sample()))));
      assert.deepEqual(names, ['imported:v1']);
    });

  for (const forceCompress of [false, true])
    void it(`takes what docker saved${forceCompress ? ', and compresses its layers' : ''}`, async () => {
      await using fixture = await TransferFixture.make();
      const { tar, image } = dockerArchive();
      const names = await imported(fixture, tar, {}, forceCompress);
      assert.deepEqual(names, ['docker.io/library/sample:1', 'other.example/x:2']);
      const { target } = await fixture.store.images.get(fixture.ctx, parseImageName(names[0]!));
      assert.equal(target.mediaType, mediaTypes.dockerManifest);
      const top = chainIds(image.layers.map(({ diffId }) => diffId)).at(-1)!;
      assert.equal(readFileSync(join(await fixture.rootOf(top), 'b'), 'utf8'), 'b');
      await fixture.collector.run(fixture.ctx);
      const plain = (await fixture.digests()).includes(image.layers[0]!.descriptor.digest);
      assert.equal(plain, !forceCompress);
    });

  const image = sample();
  const hostile: [name: string, archive: Buffer, reason: RegExp][] = [
    ['no archive', Buffer.from('x'.repeat(2000)), /tar/],
    ['nothing', Buffer.alloc(0), /holds no image/],
    ['an archive of something else', treeTar({ a: 'b' }), /holds no image/],
    ['a cut archive', treeTar(layoutOf(image)).subarray(0, 600), /middle of an entry/],
    ['a cut gzip', gzipSync(treeTar(layoutOf(image))).subarray(0, 300), /cannot be decompressed/],
    [
      'a blob of another digest',
      treeTar(layoutOf(image, { [nameOf(digestOf('x'))]: 'y' })),
      /holds something else/,
    ],
    ['a blob whose name is no digest', treeTar({ 'blobs/sha256/zz': 'y' }), /invalid digest/],
    ['an index that is no JSON', treeTar(layoutOf(image, { 'index.json': '{' })), /not valid JSON/],
    [
      'a layout of a version to come',
      treeTar(layoutOf(image, { 'oci-layout': '{"imageLayoutVersion":"2.0.0"}' })),
      /has version "2\.0\.0"/,
    ],
    [
      'a layout without its index',
      treeTar({ 'oci-layout': '{"imageLayoutVersion":"1.0.0"}', 'manifest.json': '[]' }),
      /no index\.json/,
    ],
    ['a cut zstd', zstdCompressSync(treeTar(layoutOf(image))).subarray(0, -9), /cannot be decompressed/],
    [
      'a docker archive with too many layers',
      treeTar({
        l: 'x',
        'manifest.json': JSON.stringify([{ Config: 'l', Layers: Array.from({ length: 5000 }, () => 'l') }]),
      }),
      /5000 are more than/,
    ],
    [
      'a docker archive without its config',
      treeTar({ 'manifest.json': '[{"Config":"../../etc/passwd","Layers":[]}]' }),
      /not in the archive/,
    ],
    ['a manifest.json of another shape', treeTar({ 'manifest.json': '{}' }), /must be an array/],
    [
      'links in a circle',
      treeTar({
        a: { kind: 'symlink', link: 'b' },
        b: { kind: 'symlink', link: 'a' },
        'manifest.json': '[{"Config":"a","Layers":[]}]',
      }),
      /not in the archive/,
    ],
  ];
  for (const [name, archive, reason] of hostile)
    void it(`refuses ${name}`, async () => {
      await using fixture = await TransferFixture.make();
      await assert.rejects(
        imported(fixture, archive),
        (error) => hasCode(error, 'InvalidArgument') && reason.test((error as Error).message),
      );
      const { store, ctx } = fixture;
      assert.deepEqual(await store.images.list(ctx, []), []);
      assert.deepEqual(await store.leases.list(ctx, []), []);
      assert.deepEqual(await store.content.listStatuses(ctx, []), []);
      await fixture.collector.run(ctx);
      assert.deepEqual([await fixture.digests(), await store.content.listStatuses(ctx, [])], [[], []]);
    });

  void it('takes a docker archive whose layers are empty or hard links with spaces in their names', async () => {
    await using fixture = await TransferFixture.make();
    const layer = buildLayer(Buffer.alloc(0), { compression: 'none' });
    const built = buildImage([layer, layer], { platform, docker: true });
    const tar = treeTar({
      'first layer.tar': '',
      'a b/': {},
      'a b/second layer.tar': { kind: 'symlink', link: '../first layer.tar' },
      'a b/third': { kind: 'hardlink', link: 'first layer.tar' },
      config: built.config,
      'manifest.json': JSON.stringify([
        { Config: 'config', RepoTags: ['x:1'], Layers: ['a b/second layer.tar', 'a b/third'] },
      ]),
    });
    assert.deepEqual(await imported(fixture, tar), ['docker.io/library/x:1']);
  });

  void it('says which content the archive lacks', async () => {
    await using fixture = await TransferFixture.make();
    const { [nameOf(image.layers[0]!.descriptor.digest)]: _, ...rest } = layoutOf(image);
    await assert.rejects(imported(fixture, treeTar(rest)), (error) => hasCode(error, 'NotFound'));
    assert.deepEqual(await fixture.store.images.list(fixture.ctx, []), []);
  });

  void it('takes blobs that another namespace has without writing them again', async () => {
    await using fixture = await TransferFixture.make();
    publish(fixture.remote.storage, 'sample', 'latest', image);
    await fixture.pull({ ctx: fixture.within('other') });
    assert.deepEqual(await imported(fixture, treeTar(layoutOf(image))), ['imported:v1']);
  });
});

void describe('importedNames', () => {
  const digest = digestOf('x');
  const rule = (name: string, more: Partial<ImageReferenceRule> = {}): ImageReferenceRule => ({
    ...anyName,
    name,
    allowOverwrite: false,
    ...more,
  });
  const byDigest = { addDigest: true };
  const table: [full: string, tag: string, rule: ImageReferenceRule, names: string[]][] = [
    ['', 'v1', rule('a/b'), ['a/b:v1']],
    ['', '', rule('a/b'), []],
    ['a/b:1', '', rule('a/b'), ['a/b:1']],
    ['a/bc:1', '', rule('a/b'), []],
    ['x/y:1', '', rule('a/b'), []],
    ['x/y:1', '', rule('a/b', { allowOverwrite: true }), ['x/y:1']],
    ['x/y:1', '', rule('a/b', byDigest), [`a/b@${digest}`]],
    ['a/b:1', '', rule('a/b', byDigest), ['a/b:1', `a/b@${digest}`]],
    ['a/b:1', '', rule('a/b', { ...byDigest, skipNamedDigest: true }), ['a/b:1']],
    ['', 'x/y:1', rule('a/b', { allowOverwrite: true }), ['x/y:1']],
    ['a/b:1', '', rule('given:1', { isPrefix: false }), ['given:1']],
  ];
  for (const [full, tag, used, names] of table)
    void it(`${full || tag || 'no name'} by ${JSON.stringify(used)}`, () => {
      const annotations = {
        ...(full !== '' && { 'io.containerd.image.name': full }),
        ...(tag !== '' && { 'org.opencontainers.image.ref.name': tag }),
      };
      const target = { mediaType: mediaTypes.ociManifest, digest, sizeBytes: 1, annotations };
      assert.deepEqual(importedNames(target, [used]), names);
    });
});
