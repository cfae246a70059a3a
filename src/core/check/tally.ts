/** What a check has looked at, each thing once. */
import type { Digest } from '../../base/digest.ts';

export interface Counts {
  readonly blobs: number;
  readonly blobBytes: number;
  readonly hashedBlobs: number;
  readonly hashedBytes: number;
  readonly ingests: number;
  readonly snapshots: number;
  readonly images: number;
  readonly containers: number;
  readonly leases: number;
}

export class Tally {
  ingests = 0;
  snapshots = 0;
  images = 0;
  containers = 0;
  leases = 0;
  readonly #blobs = new Map<Digest, number>();
  readonly #hashed = new Map<Digest, number>();

  blob(digest: Digest, sizeBytes: number): void {
    this.#blobs.set(digest, sizeBytes);
  }

  hashed(digest: Digest, sizeBytes: number): void {
    this.#hashed.set(digest, sizeBytes);
  }

  counts(): Counts {
    const { ingests, snapshots, images, containers, leases } = this;
    return {
      blobs: this.#blobs.size,
      blobBytes: sum(this.#blobs),
      hashedBlobs: this.#hashed.size,
      hashedBytes: sum(this.#hashed),
      ingests,
      snapshots,
      images,
      containers,
      leases,
    };
  }
}

const sum = (sizes: ReadonlyMap<Digest, number>): number =>
  [...sizes.values()].reduce((total, sizeBytes) => total + sizeBytes, 0);
