/** Content digests (OCI image spec, "Digests"): `algorithm:hex`, of the registered algorithms only. */
import { createHash, type Hash } from 'node:crypto';
import type { Brand } from './brand.ts';
import { invalidArgument } from './errors.ts';

export type Digest = Brand<string, 'Digest'>;
export type DigestAlgorithm = 'sha256' | 'sha384' | 'sha512';

const hexLengths: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha384: 96, sha512: 128 };

/** A digest of any algorithm, registered or not (OCI image spec, "Digests"). */
const anyAlgorithm = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

/** Errors: InvalidArgument for another form or an unknown algorithm. */
export function parseDigest(text: string): Digest {
  const fault = digestFault(text);
  if (fault !== undefined) throw invalidArgument(`invalid digest ${JSON.stringify(text)}: ${fault}`);
  return text as Digest;
}

/** Why `text` is no digest, in the words of Go's digest library; undefined when it is one. */
export function digestFault(text: string): string | undefined {
  const separator = text.indexOf(':');
  const algorithm = text.slice(0, Math.max(separator, 0));
  const hex = text.slice(separator + 1);
  if (separator <= 0 || hex === '') return 'invalid checksum digest format';
  if (!Object.hasOwn(hexLengths, algorithm))
    return anyAlgorithm.test(text) ? 'unsupported digest algorithm' : 'invalid checksum digest format';
  if (hex.length !== hexLengths[algorithm as DigestAlgorithm]) return 'invalid checksum digest length';
  return /^[0-9a-f]+$/.test(hex) ? undefined : 'invalid checksum digest format';
}

export const digestAlgorithm = (digest: Digest): DigestAlgorithm =>
  digest.slice(0, digest.indexOf(':')) as DigestAlgorithm;

export const digestHex = (digest: Digest): string => digest.slice(digest.indexOf(':') + 1);

/** Digest of bytes at hand; sha256 as containerd uses throughout. */
export const digestOf = (bytes: Uint8Array | string): Digest =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;

/** Running sha256. `current()` may be asked at any time and does not end it. */
export class Digester {
  readonly #hash: Hash = createHash('sha256');

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  current(): Digest {
    return `sha256:${this.#hash.copy().digest('hex')}` as Digest;
  }
}
