/** What a transfer works on: the nouns of the daemon that an image consists of. */
import type { ContentStore } from '../content/content-store.ts';
import type { Differ } from '../diff/differ.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { LeaseManager } from '../leases/lease-manager.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { UnpackLocks } from './layer-unpack.ts';
import type { TransferLeases } from './transfer-leases.ts';

export interface TransferStores {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly leases: LeaseManager;
  /** By name. */
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  /** In the order of asking. */
  readonly differs: readonly Differ[];
}

/** For the parts that bring images in: what they must agree on. */
export interface IncomingDependencies extends TransferStores {
  readonly transferLeases: TransferLeases;
  readonly snapshotLocks: UnpackLocks;
}
