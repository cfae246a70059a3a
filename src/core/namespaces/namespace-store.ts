/** Namespaces and their labels. They come into being on first write. Implemented by core/metadata. */
import type { Context } from '../../base/context.ts';
import type { Namespace } from '../../base/identifiers.ts';
import type { Labels } from '../../base/labels.ts';

export interface NamespaceRecord {
  readonly name: Namespace;
  readonly labels: Labels;
}

/** Mutations emit /namespaces/create, /namespaces/update, /namespaces/delete, in that namespace. */
export interface NamespaceStore {
  /** An absent namespace is not an error: it has no labels. */
  get(ctx: Context, name: Namespace): Promise<NamespaceRecord>;
  list(ctx: Context): Promise<NamespaceRecord[]>;
  /** Errors: AlreadyExists, InvalidArgument. */
  create(ctx: Context, record: NamespaceRecord): Promise<NamespaceRecord>;
  /** Mask paths only `labels.KEY`; none replaces all labels. Makes an absent namespace. Errors: InvalidArgument. */
  update(ctx: Context, record: NamespaceRecord, paths: readonly string[]): Promise<NamespaceRecord>;
  /** Errors: NotFound; FailedPrecondition naming what is left. */
  delete(ctx: Context, name: Namespace): Promise<void>;
}
