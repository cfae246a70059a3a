/**
 * What the kubelet calls an image: a name as people write it, completed as Docker does, or an id. The id is the digest
 * of the image's config, in full, without `sha256:`, or as much of it as is unique.
 */
import { type Digest, digestHex } from '../base/digest.ts';
import { hasCode, invalidArgument, wrap } from '../base/errors.ts';
import { normaliseReference, parseReference, type Reference } from '../oci/reference.ts';

/** With a tag or a digest, never both: a digest says it all. Errors: InvalidArgument. */
export function parseImageText(text: string): Reference {
  if (text === '') throw invalidArgument('failed to parse image reference "": it is empty');
  try {
    const reference = normaliseReference(text);
    return reference.digest === undefined || reference.tag === undefined
      ? reference
      : parseReference(nameByDigest(reference, reference.digest));
  } catch (error) {
    throw wrap('failed to parse image reference', error);
  }
}

/** Undefined for what is no name. */
export function tryParseImageText(text: string): Reference | undefined {
  try {
    return parseImageText(text);
  } catch (error) {
    if (hasCode(error, 'InvalidArgument')) return undefined;
    throw error;
  }
}

/** A name as the image store has it, spelled out; undefined for an id and for names that are no references. */
export function tryParseStoredName(name: string): Reference | undefined {
  try {
    return parseReference(name);
  } catch (error) {
    if (hasCode(error, 'InvalidArgument')) return undefined;
    throw error;
  }
}

export const nameByDigest = ({ host, repository }: Reference, digest: Digest): string =>
  `${host}/${repository}@${digest}`;

/** Whether the text stands for this id. */
export function isIdOrPart(text: string, id: Digest): boolean {
  const [, hex] = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(text) ?? [];
  return hex !== undefined && id.startsWith('sha256:') && digestHex(id).startsWith(hex);
}
