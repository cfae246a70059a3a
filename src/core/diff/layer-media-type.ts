/** Media types of layers (OCI image spec, "media-types"; Docker image manifest v2 schema 2) and what is inside. */
import { unimplemented } from '../../base/errors.ts';

export type Compression = 'gzip' | 'zstd' | 'none';

export const ociLayer = 'application/vnd.oci.image.layer.v1.tar';
export const ociLayerGzip = `${ociLayer}+gzip`;
export const ociLayerZstd = `${ociLayer}+zstd`;

const compressions: Readonly<Record<string, Compression>> = {
  [ociLayer]: 'none',
  [ociLayerGzip]: 'gzip',
  [ociLayerZstd]: 'zstd',
  'application/vnd.oci.image.layer.nondistributable.v1.tar': 'none',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip': 'gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd': 'zstd',
  'application/vnd.docker.image.rootfs.diff.tar': 'none',
  'application/vnd.docker.image.rootfs.diff.tar.gzip': 'gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd': 'zstd',
  'application/vnd.docker.image.rootfs.foreign.diff.tar': 'none',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip': 'gzip',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.zstd': 'zstd',
};

export const isLayerMediaType = (mediaType: string): boolean => Object.hasOwn(compressions, mediaType);

/**
 * How to read a layer of that type. Undefined means "look at the bytes": Docker's types were put on anything, so
 * containerd looks there too. Errors: Unimplemented for what is no tar layer.
 */
export function layerCompression(mediaType: string): Compression | undefined {
  if (!isLayerMediaType(mediaType))
    throw unimplemented(`media type ${JSON.stringify(mediaType)} is no layer`);
  return mediaType.startsWith('application/vnd.docker.') ? undefined : compressions[mediaType];
}
