/**
 * Media types of images and what they mean (OCI image spec, "Media Types"; Docker image manifest v2, schema 2).
 * One table says how a layer is compressed; everything else here is asked through functions.
 */
import { invalidArgument } from '../base/errors.ts';
import type { Descriptor } from './descriptor.ts';

export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociEmpty: 'application/vnd.oci.empty.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerSchema1: 'application/vnd.docker.distribution.manifest.v1+json',
  dockerSchema1Signed: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
  inTotoAttestation: 'application/vnd.in-toto+json',
  criuCheckpoint: 'application/vnd.containerd.container.criu.checkpoint.criu.tar',
  checkpointConfig: 'application/vnd.containerd.container.checkpoint.config.v1+proto',
} as const;

export type LayerCompression = 'none' | 'gzip' | 'zstd';

const layerCompressions: ReadonlyMap<string, LayerCompression> = new Map<string, LayerCompression>([
  [mediaTypes.ociLayer, 'none'],
  [mediaTypes.ociLayerGzip, 'gzip'],
  [mediaTypes.ociLayerZstd, 'zstd'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar', 'none'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'gzip'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', 'zstd'],
  [mediaTypes.dockerLayer, 'none'],
  [mediaTypes.dockerLayerGzip, 'gzip'],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar', 'none'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 'gzip'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar.zstd', 'zstd'],
]);

/** How the tar of a layer is compressed; undefined when the media type names no layer that we can unpack. */
export const layerCompression = (mediaType: string): LayerCompression | undefined =>
  layerCompressions.get(mediaType);

/** Any layer of an image, also of kinds that we cannot unpack (`…layer.v1.erofs`, encrypted ones). */
export const isLayer = (mediaType: string): boolean =>
  layerCompressions.has(mediaType) || mediaType.startsWith('application/vnd.oci.image.layer.');

/** Layers that registries need not hold and that a push or export may leave out. */
export const isNonDistributable = (mediaType: string): boolean =>
  mediaType.startsWith('application/vnd.oci.image.layer.nondistributable.') ||
  mediaType.startsWith('application/vnd.docker.image.rootfs.foreign.');

export const isManifest = (mediaType: string): boolean =>
  mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;

export const isIndex = (mediaType: string): boolean =>
  mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerManifestList;

/** Image configs proper; artifacts bring config types of their own. */
export const isImageConfig = (mediaType: string): boolean =>
  mediaType === mediaTypes.ociConfig || mediaType === mediaTypes.dockerConfig;

const isAttestation = (mediaType: string): boolean => mediaType === mediaTypes.inTotoAttestation;

/** Errors: InvalidArgument, with what to do, when the media type is one of Docker's schema 1. */
export function refuseSchema1Of(mediaType: string, digest: string): void {
  if (mediaType === mediaTypes.dockerSchema1 || mediaType === mediaTypes.dockerSchema1Signed)
    throw invalidArgument(
      `manifest ${digest} is of Docker's schema 1, which is no longer supported: push the image again with a current tool`,
    );
}

/**
 * The ref under which containerd's clients ingest a piece of an image, and its name in their progress displays:
 * `layer-sha256:…`, `manifest-sha256:…`.
 */
export function ingestRefOf(descriptor: Pick<Descriptor, 'mediaType' | 'digest'>): string {
  const { mediaType, digest } = descriptor;
  if (isManifest(mediaType)) return `manifest-${digest}`;
  if (isIndex(mediaType)) return `index-${digest}`;
  if (isLayer(mediaType)) return `layer-${digest}`;
  if (isImageConfig(mediaType)) return `config-${digest}`;
  if (isAttestation(mediaType)) return `attestation-${digest}`;
  return `unknown-${digest}`;
}

/**
 * Labels by which a manifest or index keeps its children alive (`containerd.io/gc.ref.content.l.0` and so on), as
 * containerd numbers them: by kind, in the order of the children.
 */
export function childLabels(
  children: readonly Pick<Descriptor, 'mediaType' | 'digest'>[],
): Record<string, string> {
  const counts = new Map<string, number>();
  const labels: Record<string, string> = {};
  for (const { mediaType, digest } of children) {
    const kind = childKind(mediaType);
    const index = counts.get(kind) ?? 0;
    counts.set(kind, index + 1);
    const suffix = index === 0 && kind === 'config' ? '' : String(index);
    labels[`containerd.io/gc.ref.content.${kind}${suffix}`] = digest;
  }
  return labels;
}

function childKind(mediaType: string): string {
  if (isImageConfig(mediaType)) return 'config';
  if (isManifest(mediaType)) return 'm.';
  if (isLayer(mediaType)) return 'l.';
  return '';
}
