/** OCI image spec, "Content Descriptors": names content by media type, digest and size. */
import { type Digest, parseDigest } from '../base/digest.ts';
import { invalidArgument } from '../base/errors.ts';
import { asObject, member, optionalString, optionalStringMap, optionalStrings } from './json.ts';
import { type Platform, parsePlatformJson, platformJson } from './platform.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly annotations?: Readonly<Record<string, string>>;
  /** On entries of an index. */
  readonly platform?: Platform;
  readonly urls?: readonly string[];
  readonly artifactType?: string;
}

/** `where` names the place in messages ("manifest.layers[2]"). Errors: InvalidArgument. */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  const object = asObject(value, where);
  const digest = optionalString(object, 'digest', where);
  if (digest === undefined) throw invalidArgument(`${where}.digest is missing`);
  const size = member(object, 'size');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw invalidArgument(`${where}.size must be a whole number of bytes, not ${shown(size)}`);
  const annotations = optionalStringMap(object, 'annotations', where);
  const platform = member(object, 'platform');
  const urls = optionalStrings(object, 'urls', where);
  const artifactType = optionalString(object, 'artifactType', where);
  return {
    mediaType: optionalString(object, 'mediaType', where) ?? '',
    digest: parseDigest(digest),
    sizeBytes: size,
    ...(annotations && { annotations }),
    ...(platform !== undefined && { platform: parsePlatformJson(platform, `${where}.platform`) }),
    ...(urls && { urls }),
    ...(artifactType && { artifactType }),
  };
}

/** What nests may nest so deeply that it cannot be printed. */
const shown = (value: unknown): string =>
  typeof value === 'object' ? 'an object or a list' : JSON.stringify(value);

/** The JSON of the specification, members in its order. */
export function descriptorJson(descriptor: Descriptor): Record<string, unknown> {
  const { mediaType, digest, sizeBytes, urls, annotations, platform, artifactType } = descriptor;
  return {
    mediaType,
    digest,
    size: sizeBytes,
    ...(urls && { urls }),
    ...(annotations && { annotations }),
    ...(platform && { platform: platformJson(platform) }),
    ...(artifactType && { artifactType }),
  };
}
