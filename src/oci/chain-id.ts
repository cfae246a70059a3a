/** OCI image spec, "Layer ChainID": names the result of a stack of layers. */
import { createHash } from 'node:crypto';
import type { Digest } from '../base/digest.ts';

/** chainID of each prefix of the diffIDs, bottom first: `result[n]` stands for layers 0 to n. */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : link(below, diffId));
  }
  return chain;
}

const link = (below: Digest, diffId: Digest): Digest =>
  `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}` as Digest;
