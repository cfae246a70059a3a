/** Images by what people type: a name as it is stored, a short name of Docker Hub, or the beginning of a digest. */
import { digestHex } from '../base/digest.ts';
import { hasCode } from '../base/errors.ts';
import type { Call, GantryClient, Image } from '../client/index.ts';
import { familiarReference, normaliseReference, parseReference } from '../oci/reference.ts';
import { CliFailure } from './failure.ts';

/** As short as people write it; names that are no references are shown as they are. */
export function familiar(name: string): string {
  try {
    return familiarReference(parseReference(name));
  } catch {
    return name;
  }
}

export async function maybeFindImage(
  gantry: GantryClient,
  text: string,
  call: Call = {},
): Promise<Image | undefined> {
  const names = [text];
  try {
    names.push(normaliseReference(text).text);
  } catch {
    // Not a reference: it may still be a stored name or a digest.
  }
  for (const name of new Set(names)) {
    try {
      return await gantry.images.get(name, call);
    } catch (error) {
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }
  const hex = text.replace(/^sha256:/, '');
  if (!/^[0-9a-f]{6,64}$/.test(hex)) return undefined;
  const matches = (await gantry.images.list([], call)).filter(({ target }) =>
    digestHex(target.digest).startsWith(hex),
  );
  const digests = new Set(matches.map(({ target }) => target.digest));
  if (digests.size > 1)
    throw new CliFailure(`${JSON.stringify(text)} is the beginning of ${digests.size} image digests`, {
      hint: 'give more of it; gantry images lists them',
    });
  return matches[0];
}

export async function findImage(gantry: GantryClient, text: string): Promise<Image> {
  const found = await maybeFindImage(gantry, text);
  if (found !== undefined) return found;
  throw new CliFailure(`no image ${JSON.stringify(text)} in namespace ${JSON.stringify(gantry.namespace)}`, {
    hint: `fetch it with gantry pull ${text}; gantry images lists what is here`,
  });
}
