/** The contract of differs: a layer blob onto a mounted tree, and two trees into a layer blob. */
import type { NamespacedContext } from '../../base/context.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Mount } from '../../platform/mount.ts';
import type { LayerFeed } from './layer-feed.ts';
import type { ProcessorPayloads } from './processor-chain.ts';

export interface ApplyOptions {
  /** syncfs the tree before answering. */
  readonly syncFileSystem?: boolean;
  /** Uncompressed bytes applied so far, for progress. */
  readonly onProgress?: (bytes: number) => void;
  /** The work has begun: it does not wait for other layers to make room. */
  readonly onStarted?: () => void;
  /** Only for a differ that `appliesEarly`: the blob comes from here and need not be in the store yet. */
  readonly feed?: LayerFeed;
  /**
   * Only for a differ that `appliesEarly`, with mounts by `rebaseMounts`: the directories of the layers below, the
   * uppermost first, once they are complete. Asked only when the layer has to do with them.
   */
  readonly lowers?: () => Promise<readonly string[]>;
  /** What stream processors are given beside the layer, by their ids. */
  readonly payloads?: ProcessorPayloads;
}

export interface CompareOptions {
  /** OCI layer tar, +gzip (default) or +zstd. Errors: Unimplemented for others. */
  readonly mediaType?: string;
  /** Ingest ref to write under; random when absent. */
  readonly ref?: string;
  readonly labels?: Labels;
  /** Upper bound for times in the layer (SOURCE_DATE_EPOCH). */
  readonly sourceDateEpoch?: Instant;
}

export interface Differ {
  /** A layer may be applied while its blob, or the layers below, are still on their way. */
  readonly appliesEarly?: boolean;
  /** Of a differ that `appliesEarly`: it takes this layer from the store only, never from a feed. */
  needsStoredBlob?(layer: Descriptor): boolean;
  /**
   * Applies the layer `layer` of the content store onto `mounts`. Returns the descriptor of the uncompressed tar:
   * its digest is the diffID. Errors: NotFound (blob), Unimplemented (media type), InvalidArgument (malformed or
   * escaping layer), Unknown (a stream processor that fails).
   */
  apply(
    ctx: NamespacedContext,
    layer: Descriptor,
    mounts: readonly Mount[],
    options: ApplyOptions,
  ): Promise<Descriptor>;
  /** Writes what changes `lower` into `upper` as a layer blob and returns its descriptor, labelled `containerd.io/uncompressed`. */
  compare(
    ctx: NamespacedContext,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options: CompareOptions,
  ): Promise<Descriptor>;
}
