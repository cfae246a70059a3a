/** Manifests and indexes: never taken for each other, bounded, and the same again when printed. */
import assert from 'node:assert/strict';
import { digestOf } from '../../../src/base/digest.ts';
import { limits } from '../../../src/base/limits.ts';
import { descriptorJson } from '../../../src/oci/descriptor.ts';
import { type ImageIndex, type ImageManifest, parseManifestOrIndex } from '../../../src/oci/manifest.ts';
import { mediaTypes } from '../../../src/oci/media-types.ts';
import { type FuzzTarget, mustTake } from '../fuzz-target.ts';

const digest = digestOf('');
const descriptor = `{"mediaType":"application/x","digest":"${digest}","size":2`;
const words = [
  ...[
    '"layers":',
    '"manifests":',
    '"config":',
    '"mediaType":',
    '"size":',
    '"digest":',
    '"annotations":',
    '"urls":',
  ],
  ...[
    '"subject":',
    '"platform":',
    '"os.features":',
    '"fsLayers":[]',
    '[',
    '{}',
    '""',
    digest,
    descriptor,
    '9007199254740992',
  ],
  ...Object.values(mediaTypes).map((type) => `"${type}"`),
];
const deep = (key: string): string => `{"${key}":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
const hostileDescriptor = (member: string): string => `{"mediaType":"m","digest":"${digest}",${member}}`;

function json(document: ImageManifest | ImageIndex): string {
  const { kind, subject, ...rest } = document;
  return JSON.stringify({
    ...rest,
    ...(kind === 'manifest'
      ? { config: descriptorJson(document.config), layers: document.layers.map(descriptorJson) }
      : { manifests: document.manifests.map(descriptorJson) }),
    ...(subject && { subject: descriptorJson(subject) }),
  });
}

function check(input: Buffer, mediaType: string, kind: string): void {
  const parsed = parseManifestOrIndex(input, { mediaType, digest });
  assert.equal(parsed.kind, kind);
  const entries = parsed.kind === 'manifest' ? parsed.layers : parsed.manifests;
  assert.ok(entries.length <= limits.manifestEntries);
  assert.ok(entries.every(({ sizeBytes }) => Number.isSafeInteger(sizeBytes) && sizeBytes >= 0));
  const printed = Buffer.from(json(parsed));
  const again = mustTake('what was printed', () => parseManifestOrIndex(printed, { mediaType, digest }));
  assert.deepEqual(again, parsed);
}

export const manifest: FuzzTarget = {
  name: 'manifest',
  seeds: [
    `{"schemaVersion":2,"mediaType":"${mediaTypes.ociManifest}","config":${descriptor}},"layers":[${descriptor}},${descriptor},"urls":["https://x/"],"annotations":{"a":"b"}}]}`,
    `{"config":${descriptor}},"layers":null,"artifactType":"t","subject":${descriptor}},"annotations":{"__proto__":"x"}}`,
  ],
  hostile: [
    deep('config'),
    deep('layers'),
    `{"config":${hostileDescriptor(`"size":${'['.repeat(20_000)}${']'.repeat(20_000)}`)},"layers":[]}`,
    `{"config":${descriptor}},"manifests":[]}`,
  ],
  words,
  maxBytes: 64 * 1024,
  refusals: ['InvalidArgument'],
  check: (input) => check(input, mediaTypes.ociManifest, 'manifest'),
};

export const index: FuzzTarget = {
  name: 'index',
  seeds: [
    `{"schemaVersion":2,"mediaType":"${mediaTypes.ociIndex}","manifests":[${descriptor},"platform":{"os":"linux","architecture":"arm","variant":"v7","os.version":"1","os.features":["b","a"]}}]}`,
    `{"manifests":[${descriptor}},${descriptor},"artifactType":"x"}],"annotations":{}}`,
    '{}',
  ],
  hostile: [
    deep('manifests'),
    `{"manifests":[${hostileDescriptor(`"size":${'{"a":'.repeat(8000)}1${'}'.repeat(8000)}`)}]}`,
    `{"manifests":[],"layers":[]}`,
    `{"manifests":[${descriptor},"platform":[]}]}`,
  ],
  words,
  maxBytes: 64 * 1024,
  refusals: ['InvalidArgument'],
  check: (input) => check(input, mediaTypes.ociIndex, 'index'),
};
