/** What import and export are asked for, beside the image destination (containerd.types.transfer). */
import type { Platform } from '../../oci/platform.ts';

export interface ArchiveSource {
  /** A tar, maybe compressed. */
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Docker archives hold plain layers: gzip them on the way in. */
  readonly forceCompress: boolean;
}

export interface ArchiveDestination {
  /** Takes the tar; resolves when the other side has all of it. */
  readonly write: (bytes: AsyncIterable<Uint8Array>) => Promise<void>;
  /** All that the image has when empty and `allPlatforms`; this machine's when empty and not. */
  readonly platforms: readonly Platform[];
  readonly allPlatforms: boolean;
  /** Leaves out manifest.json, which `docker load` reads. */
  readonly skipCompatibilityManifest: boolean;
  readonly skipNonDistributable: boolean;
}
