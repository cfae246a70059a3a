/** What the in-process registry holds: blobs and manifests by digest, tags by repository. All in memory. */
import { type Digest, digestOf } from '../../base/digest.ts';

export interface StoredManifest {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

export class RegistryStorage {
  readonly #blobs = new Map<string, Map<Digest, Buffer>>();
  readonly #manifests = new Map<string, Map<Digest, StoredManifest>>();
  readonly #tags = new Map<string, Map<string, Digest>>();

  addBlob(repository: string, bytes: Buffer): Digest {
    const digest = digestOf(bytes);
    child(this.#blobs, repository).set(digest, bytes);
    return digest;
  }

  blob(repository: string, digest: string): Buffer | undefined {
    return this.#blobs.get(repository)?.get(digest as Digest);
  }

  /** True when `from` had it. */
  mountBlob(repository: string, from: string, digest: string): boolean {
    const bytes = this.blob(from, digest);
    if (bytes !== undefined) this.addBlob(repository, bytes);
    return bytes !== undefined;
  }

  addManifest(repository: string, mediaType: string, bytes: Buffer, tag?: string): Digest {
    const digest = digestOf(bytes);
    child(this.#manifests, repository).set(digest, { mediaType, bytes });
    if (tag !== undefined) child(this.#tags, repository).set(tag, digest);
    return digest;
  }

  /** By tag or digest. */
  manifest(repository: string, reference: string): StoredManifest | undefined {
    const digest = this.#tags.get(repository)?.get(reference) ?? (reference as Digest);
    return this.#manifests.get(repository)?.get(digest);
  }

  tags(repository: string): string[] {
    return [...(this.#tags.get(repository)?.keys() ?? [])].sort();
  }
}

function child<Value>(parent: Map<string, Map<string, Value>>, name: string): Map<string, Value> {
  let found = parent.get(name);
  if (found === undefined) {
    found = new Map();
    parent.set(name, found);
  }
  return found;
}
