/**
 * An image's manifest and config, read through the content service. What an image says is hostile: bytes are held
 * against their digests, sizes are bounded, shapes are checked by `oci`.
 */
import { digestOf } from '../base/digest.ts';
import { dataLoss, invalidArgument, notFound } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type ImageConfig, parseImageConfig } from '../oci/image-config.ts';
import { type ImageManifest, parseManifestOrIndex } from '../oci/manifest.ts';
import { compatibleMatcher, formatPlatform, hostPlatform, type Platform } from '../oci/platform.ts';
import type { ContentClient } from './content.ts';
import type { Call } from './scope.ts';

export interface ImageContent {
  readonly manifest: Descriptor;
  readonly configDescriptor: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly config: ImageConfig;
  /** Manifest, config and layers as they were fetched. */
  readonly sizeBytes: number;
}

interface Reading {
  readonly content: ContentClient;
  readonly call: Call;
}

/** Errors: NotFound, InvalidArgument, DataLoss (bytes that are not of their digest). */
export async function readImage(
  content: ContentClient,
  target: Descriptor,
  { platform = hostPlatform(), ...call }: Call & { platform?: Platform } = {},
): Promise<ImageContent> {
  const reading = { content, call };
  const { descriptor, manifest } = await findManifest(reading, target, { platform, depth: 0 });
  const config = parseImageConfig(await readVerified(reading, manifest.config), manifest.config.digest);
  const parts = [descriptor, manifest.config, ...manifest.layers];
  return {
    manifest: descriptor,
    configDescriptor: manifest.config,
    layers: manifest.layers,
    config,
    sizeBytes: parts.reduce((sum, part) => sum + part.sizeBytes, 0),
  };
}

/** The best manifest for the platform of those whose content is here. */
async function findManifest(
  reading: Reading,
  descriptor: Descriptor,
  { platform, depth }: { platform: Platform; depth: number },
): Promise<{ descriptor: Descriptor; manifest: ImageManifest }> {
  if (depth > limits.indexDepth) throw invalidArgument(`image index ${descriptor.digest} is nested too deep`);
  const document = parseManifestOrIndex(await readVerified(reading, descriptor), descriptor);
  if (document.kind === 'manifest') return { descriptor, manifest: document };
  const matcher = compatibleMatcher(platform);
  const candidates = document.manifests
    .filter((entry) => entry.platform === undefined || matcher.matches(entry.platform))
    .toSorted((a, b) => matcher.compare(a.platform ?? platform, b.platform ?? platform));
  const best = candidates[0];
  if (best === undefined) throw notFound('manifest for platform', formatPlatform(platform));
  return await findManifest(reading, best, { platform, depth: depth + 1 });
}

async function readVerified({ content, call }: Reading, descriptor: Descriptor): Promise<Buffer> {
  const bytes = await content.readAll(descriptor.digest, { ...call, limitBytes: limits.manifestBytes });
  if (descriptor.digest.startsWith('sha256:') && digestOf(bytes) !== descriptor.digest)
    throw dataLoss(`content ${descriptor.digest} does not have this digest`);
  return bytes;
}
