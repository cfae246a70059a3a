/** Which blobs a check reads whole: none, all, or every small one and a tenth of the rest, chosen by a seed. */
import { createHash } from 'node:crypto';
import type { Digest } from '../../base/digest.ts';
import { digestAlgorithm, digestHex } from '../../base/digest.ts';
import type { ContentReader } from '../content/content-store.ts';

export type DigestMode = 'none' | 'sample' | 'full';
export const digestModes: readonly DigestMode[] = ['none', 'sample', 'full'];

/** Documents are this small, and every image depends on its own. */
const smallBytes = 1024 * 1024;
const oneIn = 10;

export function isChosen(
  { mode, seed }: { mode: DigestMode; seed: number },
  digest: Digest,
  sizeBytes: number,
): boolean {
  if (mode !== 'sample') return mode === 'full';
  if (sizeBytes <= smallBytes) return true;
  return createHash('sha256').update(`${seed} ${digest}`).digest().readUInt32BE(0) % oneIn === 0;
}

/** The bytes are those of the digest. */
export async function isIntact(reader: ContentReader, signal: AbortSignal): Promise<boolean> {
  const hash = createHash(digestAlgorithm(reader.digest));
  for await (const chunk of reader.stream({ signal })) hash.update(chunk);
  return hash.digest('hex') === digestHex(reader.digest);
}
