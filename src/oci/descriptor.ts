/** OCI image spec, "Content Descriptors": names content by media type, digest and size. */
import type { Digest } from '../base/digest.ts';
import type { Platform } from './platform.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly annotations?: Readonly<Record<string, string>>;
  /** On entries of an index. */
  readonly platform?: Platform;
  readonly urls?: readonly string[];
  readonly artifactType?: string;
}
