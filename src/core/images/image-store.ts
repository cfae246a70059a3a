/** Images: a name for a descriptor. Content need not be there. Implemented by core/metadata. */
import type { NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import type { ImageName } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';
import type { Instant } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';

export interface Image {
  readonly name: ImageName;
  readonly target: Descriptor;
  readonly labels: Labels;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
}

/** `at` overrides the times (source_date_epoch). */
export type NewImage = Pick<Image, 'name' | 'target' | 'labels'> & { readonly at?: Instant };

/** What an update gives: only what its mask names has to be there. */
export interface ImageChange {
  readonly name: ImageName;
  readonly labels: Labels;
  readonly target?: Descriptor;
  /** Of the target, for masks that change nothing else of it. */
  readonly annotations?: Labels;
  readonly at?: Instant;
}

/** Mutations emit /images/create, /images/update, /images/delete after they are durable. */
export interface ImageStore {
  /** Errors: NotFound. */
  get(ctx: NamespacedContext, name: ImageName): Promise<Image>;
  /** Filters over name, target.digest, target.mediatype, labels.*, annotations.*. Errors: InvalidArgument. */
  list(ctx: NamespacedContext, filters: readonly string[]): Promise<Image[]>;
  /** Errors: AlreadyExists, InvalidArgument. */
  create(ctx: NamespacedContext, image: NewImage): Promise<Image>;
  /** Mask paths: labels, labels.K, target, annotations, annotations.K; none replaces all but createdAt. Errors: NotFound, InvalidArgument. */
  update(ctx: NamespacedContext, image: ImageChange, paths: readonly string[]): Promise<Image>;
  /** `target` deletes only while it is still the target. `sync` waits for a whole garbage collection. Errors: NotFound. */
  delete(
    ctx: NamespacedContext,
    name: ImageName,
    options: { target?: Digest; sync?: boolean },
  ): Promise<void>;
}
