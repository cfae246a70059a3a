/**
 * Transfer: moving images between registries, the image store and archives inside the daemon.
 *
 * The one verb is `transfer(source, destination)`; what it does follows from the two (see transfer-service.ts).
 */
import type { NamespacedContext } from '../../base/context.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Platform } from '../../oci/platform.ts';

/** One step of progress, as containerd's transfer API words it ("downloading", "extracting", "complete", …). */
export interface TransferProgress {
  readonly event: string;
  readonly name: string;
  readonly parents: readonly string[];
  readonly progress: number;
  readonly total: number;
  readonly descriptor?: Descriptor;
}

export type ProgressSink = (progress: TransferProgress) => void;

export interface UnpackTarget {
  /** The default platform when absent. */
  readonly platform?: Platform;
  readonly snapshotter: string;
}

/** Credentials asked for when a registry wants them. Never logged. */
export type Credentials =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic'; readonly username: string; readonly secret: string }
  | { readonly kind: 'refresh'; readonly token: string }
  | { readonly kind: 'header'; readonly value: string };

export type CredentialSource = (request: {
  readonly host: string;
  readonly reference: string;
  readonly challenges: readonly string[];
}) => Promise<Credentials>;

export interface RegistryEndpoint {
  readonly reference: string;
  /** Root of hosts.toml directories; the configured one when absent. */
  readonly hostsDir?: string;
  readonly defaultScheme?: 'http' | 'https';
  readonly headers?: Readonly<Record<string, string>>;
  readonly credentials?: CredentialSource;
}

/** How names are given to what a transfer brings in, beside the destination's own name. */
export interface ImageReferenceRule {
  readonly name: string;
  /** `name` is what stands before tags found in an archive. */
  readonly isPrefix: boolean;
  /** Names in the archive that do not have the prefix count too. */
  readonly allowOverwrite: boolean;
  /** Name by digest. */
  readonly addDigest: boolean;
  /** Unless the archive gives a name. */
  readonly skipNamedDigest: boolean;
}

export interface ImageDestination {
  /** "" stores under the reference pulled. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Platforms to fetch, exactly; all of them when empty, as containerd has it. */
  readonly platforms: readonly Platform[];
  /** Fetch manifests and configs of all platforms. */
  readonly allMetadata: boolean;
  readonly manifestLimit: number;
  readonly unpacks: readonly UnpackTarget[];
  readonly extraReferences?: readonly ImageReferenceRule[];
  /** Blobs of this one transfer on their way at once; what all of them share when absent. */
  readonly maxConcurrentDownloads?: number;
  /** Called by a pull when all content is here, under its lease and before the image gets its name. */
  readonly beforeNaming?: (ctx: NamespacedContext, target: Descriptor) => Promise<void>;
}

/** The story of a pull; see docs/walks/pull.md. */
export interface Puller {
  /**
   * Resolves, fetches, unpacks and names an image. What was verified stays under the lease when it fails; the image
   * is made last. Errors: NotFound (reference), Unauthenticated, Unavailable (registry), FailedPrecondition (digest).
   */
  pull(
    ctx: NamespacedContext,
    from: RegistryEndpoint,
    into: ImageDestination,
    progress: ProgressSink,
  ): Promise<{ name: string; target: Descriptor }>;
}
