/** Manifests, indexes and configs that strangers wrote: read strictly, refused with the place that is wrong. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { type Digest, digestOf } from '../base/digest.ts';
import { hasCode } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { chainIds } from './chain-id.ts';
import { descriptorJson, parseDescriptor } from './descriptor.ts';
import { parseImageConfig } from './image-config.ts';
import { parseManifestOrIndex } from './manifest.ts';
import { childLabels, ingestRefOf, mediaTypes } from './media-types.ts';

const digest = (text: string): Digest => digestOf(text);
const blob = (text: string, mediaType: string) => ({ mediaType, digest: digest(text), size: text.length });
const config = blob('config', mediaTypes.ociConfig);
const layer = blob('layer', mediaTypes.ociLayerGzip);
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const parse = (value: unknown, mediaType: string = mediaTypes.ociManifest) =>
  parseManifestOrIndex(bytes(value), { mediaType, digest: digest('m') });
const refusedWith = (text: RegExp) => (error: unknown) =>
  hasCode(error, 'InvalidArgument') && text.test((error as Error).message);

void describe('parseManifestOrIndex', () => {
  void it('reads a manifest', () => {
    const manifest = parse({
      schemaVersion: 2,
      config,
      layers: [layer, { ...layer, annotations: { a: 'b' } }],
      unknown: 1,
    });
    assert.equal(manifest.kind, 'manifest');
    assert.deepEqual(manifest.kind === 'manifest' && manifest.layers[1]?.annotations, { a: 'b' });
  });
  void it('reads an index with platforms', () => {
    const entry = {
      ...blob('x', mediaTypes.ociManifest),
      platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
    };
    const index = parse({ manifests: [entry] }, mediaTypes.dockerManifestList);
    assert.deepEqual(index.kind === 'index' && index.manifests[0]?.platform, {
      os: 'linux',
      architecture: 'arm',
      variant: 'v7',
    });
  });

  const refusals: [name: string, value: unknown, mediaType: string, reason: RegExp][] = [
    [
      'an index passed off as a manifest',
      { config, layers: [], manifests: [] },
      mediaTypes.ociManifest,
      /lists manifests/,
    ],
    [
      'a manifest passed off as an index',
      { manifests: [], layers: [] },
      mediaTypes.ociIndex,
      /config or layers/,
    ],
    [
      'another media type than announced',
      { mediaType: mediaTypes.ociIndex, config, layers: [] },
      mediaTypes.ociManifest,
      /calls itself/,
    ],
    ['schema 1 by its type', {}, mediaTypes.dockerSchema1Signed, /schema 1.*push the image again/],
    ['schema 1 by its content', { fsLayers: [] }, mediaTypes.dockerManifest, /schema 1/],
    ['no config', { layers: [] }, mediaTypes.ociManifest, /config must be an object/],
    ['layers that are no list', { config, layers: {} }, mediaTypes.ociManifest, /layers must be an array/],
    [
      'a negative size',
      { config: { ...config, size: -1 }, layers: [] },
      mediaTypes.ociManifest,
      /config\.size/,
    ],
    [
      'a fractional size',
      { config, layers: [{ ...layer, size: 1.5 }] },
      mediaTypes.ociManifest,
      /layers\[0\]\.size/,
    ],
    [
      'a size as text',
      { config, layers: [{ ...layer, size: '1' }] },
      mediaTypes.ociManifest,
      /layers\[0\]\.size/,
    ],
    [
      'a digest that leads elsewhere',
      { config: { ...config, digest: 'sha256:../../etc' }, layers: [] },
      mediaTypes.ociManifest,
      /invalid digest/,
    ],
    [
      'annotations that are no text',
      { config: { ...config, annotations: { a: 1 } }, layers: [] },
      mediaTypes.ociManifest,
      /annotations/,
    ],
    ['an array', [], mediaTypes.ociManifest, /must be an object/],
    ['a type of no manifest', { config, layers: [] }, 'text/plain', /neither a manifest nor an index/],
    [
      'more layers than any image has',
      { config, layers: Array(limits.manifestEntries + 1).fill(layer) },
      mediaTypes.ociManifest,
      /more than/,
    ],
  ];
  for (const [name, value, mediaType, reason] of refusals)
    void it(`refuses ${name}`, () => assert.throws(() => parse(value, mediaType), refusedWith(reason)));

  void it('refuses what is not UTF-8, not JSON, too long', () => {
    const announced = { mediaType: mediaTypes.ociManifest, digest: digest('m') };
    assert.throws(
      () => parseManifestOrIndex(Buffer.from([0xff, 0xfe]), announced),
      refusedWith(/not valid JSON/),
    );
    assert.throws(() => parseManifestOrIndex(Buffer.from('{'), announced), refusedWith(/not valid JSON/));
    const long = Buffer.alloc(limits.manifestBytes + 1, ' ');
    assert.throws(() => parseManifestOrIndex(long, announced), refusedWith(/more than/));
  });
  void it('refuses a size that nests without end', () => {
    const depth = 1_000_000;
    for (const size of [
      `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`,
      '['.repeat(depth) + ']'.repeat(depth),
    ]) {
      const document = Buffer.from(`{"manifests":[{"digest":"${digest('x')}","size":${size}}]}`);
      assert.throws(
        () => parseManifestOrIndex(document, { mediaType: mediaTypes.ociIndex, digest: digest('m') }),
        refusedWith(/manifests\[0\]\.size must be a whole number of bytes, not an object or a list/),
      );
    }
  });
  void it('members of the prototype are not members of the document', () => {
    const text = '{"__proto__":{"layers":[],"config":{}},"manifests":[]}';
    const index = parseManifestOrIndex(Buffer.from(text), {
      mediaType: mediaTypes.ociIndex,
      digest: digest('m'),
    });
    assert.equal(index.kind, 'index');
  });
  void it('any JSON is read or refused as an argument', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.constantFrom(mediaTypes.ociManifest, mediaTypes.ociIndex),
        (value, mediaType) => {
          try {
            parse(value, mediaType);
          } catch (error) {
            assert.ok(hasCode(error, 'InvalidArgument'), String(error));
          }
        },
      ),
    );
  });
  void it('descriptors survive the way out and in', () => {
    const descriptor = parseDescriptor(
      {
        ...layer,
        urls: ['https://x/'],
        platform: { os: 'linux', architecture: 'amd64' },
        annotations: { a: 'b' },
      },
      'd',
    );
    assert.deepEqual(
      parseDescriptor(JSON.parse(JSON.stringify(descriptorJson(descriptor))), 'd'),
      descriptor,
    );
  });
});

void describe('parseImageConfig', () => {
  const read = (value: unknown) => parseImageConfig(bytes(value), digest('c'));
  void it('reads what to run, and nulls as absent, as Go writes them', () => {
    const parsed = read({
      os: 'linux',
      architecture: 'amd64',
      config: {
        Env: ['A=b'],
        Cmd: null,
        Entrypoint: ['/x'],
        User: '1:2',
        Volumes: { '/v': {} },
        Labels: { l: '1' },
      },
      rootfs: { type: 'layers', diff_ids: [digest('d')] },
    });
    assert.deepEqual(parsed.platform, { os: 'linux', architecture: 'amd64' });
    assert.deepEqual(parsed.diffIds, [digest('d')]);
    assert.deepEqual(
      [parsed.config.cmd, parsed.config.entrypoint, parsed.config.volumes],
      [[], ['/x'], ['/v']],
    );
  });
  for (const [name, value, reason] of [
    ['Env that is no list', { config: { Env: 'A=b' } }, /Env must be an array/],
    ['a diffID that is no digest', { rootfs: { diff_ids: ['x'] } }, /invalid digest/],
    ['another kind of root', { rootfs: { type: 'tar' } }, /only "layers"/],
    ['a user that is no text', { config: { User: 0 } }, /User must be a string/],
  ] as const)
    void it(`refuses ${name}`, () => assert.throws(() => read(value), refusedWith(reason)));
});

void describe('names and labels', () => {
  void it('numbers children by their kind, as containerd does', () => {
    assert.deepEqual(
      childLabels([
        { mediaType: mediaTypes.ociConfig, digest: digest('c') },
        { mediaType: mediaTypes.ociLayer, digest: digest('0') },
        { mediaType: mediaTypes.dockerLayerGzip, digest: digest('1') },
        { mediaType: 'application/x', digest: digest('x') },
        { mediaType: mediaTypes.ociManifest, digest: digest('m') },
        { mediaType: mediaTypes.ociIndex, digest: digest('i') },
      ]),
      {
        'containerd.io/gc.ref.content.config': digest('c'),
        'containerd.io/gc.ref.content.l.0': digest('0'),
        'containerd.io/gc.ref.content.l.1': digest('1'),
        'containerd.io/gc.ref.content.0': digest('x'),
        'containerd.io/gc.ref.content.m.0': digest('m'),
        'containerd.io/gc.ref.content.1': digest('i'),
      },
    );
  });
  void it('names ingests by kind', () => {
    const name = (mediaType: string) => ingestRefOf({ mediaType, digest: digest('x') }).split('-', 1)[0];
    assert.deepEqual(
      [
        mediaTypes.ociManifest,
        mediaTypes.dockerManifestList,
        mediaTypes.ociLayerZstd,
        mediaTypes.dockerConfig,
        'x/y',
      ].map(name),
      ['manifest', 'index', 'layer', 'config', 'unknown'],
    );
  });
  void it('chains diffIDs', () => {
    const [a, b] = [digest('a'), digest('b')];
    assert.deepEqual(chainIds([a, b]), [a, digest(`${a} ${b}`)]);
    assert.deepEqual(chainIds([]), []);
  });
});
