/**
 * What collection takes beside content, snapshots, images, leases and ingests: objects that somebody else keeps, which
 * leases hold and labels point at by `containerd.io/gc.ref.KIND`.
 */
import type { Context } from '../../base/context.ts';
import type { Labels } from '../../base/labels.ts';

export interface CollectibleObject {
  readonly namespace: string;
  readonly id: string;
  /** Stays by itself. Not so with a lease, which then decides. */
  readonly isRoot: boolean;
  readonly lease: string | undefined;
  /** Of them only `containerd.io/gc.bref.` counts, as in containerd. */
  readonly labels: Labels;
}

export interface Collectible {
  /** The word in labels: `stream`, `mount`. */
  readonly kind: string;
  /** Those that live now. Called while writers wait, so it must be quick. */
  objects(): readonly CollectibleObject[];
  /** The statement, and its texts, that takes one out of the database in the sweep; none for what is not there. */
  removal?(object: CollectibleObject): readonly [statement: string, ...texts: string[]];
  /**
   * Writers do not wait any more. Frees what `objects` gave and nothing reaches, if it still is as it was then, and
   * what a crash left. Errors are logged by the collector and do not keep other kinds from being freed.
   */
  free(ctx: Context, garbage: readonly CollectibleObject[]): Promise<void>;
}
