/**
 * Image manifests and indexes, OCI and Docker schema 2 alike. Strict where a wrong document could be taken for
 * another (the two kinds must not be mixed: CVE-2021-41190), tolerant of members that we do not know.
 */
import { invalidArgument } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { type Descriptor, parseDescriptor } from './descriptor.ts';
import {
  type JsonObject,
  member,
  optionalArray,
  optionalString,
  optionalStringMap,
  parseJsonObject,
} from './json.ts';
import { isIndex, isManifest, mediaTypes, refuseSchema1Of } from './media-types.ts';

export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * Reads what `descriptor` names. `bytes` are the verified content.
 * Errors: InvalidArgument for anything that is not a manifest or index of the announced media type.
 */
export function parseManifestOrIndex(
  bytes: Uint8Array,
  descriptor: Pick<Descriptor, 'mediaType' | 'digest'>,
): ImageManifest | ImageIndex {
  const what = `manifest ${descriptor.digest}`;
  refuseSchema1Of(descriptor.mediaType, descriptor.digest);
  const document = parseJsonObject(bytes, what, limits.manifestBytes);
  const declared = optionalString(document, 'mediaType', what) ?? '';
  refuseSchema1Of(
    member(document, 'fsLayers') === undefined ? declared : mediaTypes.dockerSchema1,
    descriptor.digest,
  );
  if (declared !== '' && descriptor.mediaType !== '' && declared !== descriptor.mediaType)
    throw invalidArgument(`${what} was announced as ${descriptor.mediaType} and calls itself ${declared}`);
  const mediaType = descriptor.mediaType || declared;
  if (isManifest(mediaType)) return manifest(document, mediaType, what);
  if (isIndex(mediaType)) return index(document, mediaType, what);
  throw invalidArgument(
    `${what} has media type ${JSON.stringify(mediaType)}, which is neither a manifest nor an index`,
  );
}

function manifest(document: JsonObject, mediaType: string, what: string): ImageManifest {
  if (member(document, 'manifests') !== undefined)
    throw invalidArgument(`${what} is announced as an image manifest but lists manifests, as an index does`);
  const layers = optionalArray(document, 'layers', what) ?? [];
  if (layers.length > limits.manifestEntries)
    throw invalidArgument(
      `${what} has ${layers.length} layers, more than the ${limits.manifestEntries} allowed`,
    );
  return {
    kind: 'manifest',
    mediaType,
    config: parseDescriptor(member(document, 'config'), `${what}: config`),
    layers: layers.map((layer, position) => parseDescriptor(layer, `${what}: layers[${position}]`)),
    ...common(document, what),
  };
}

function index(document: JsonObject, mediaType: string, what: string): ImageIndex {
  if (member(document, 'layers') !== undefined || member(document, 'config') !== undefined)
    throw invalidArgument(
      `${what} is announced as an index but has a config or layers, as an image manifest does`,
    );
  const manifests = optionalArray(document, 'manifests', what) ?? [];
  if (manifests.length > limits.manifestEntries)
    throw invalidArgument(
      `${what} has ${manifests.length} manifests, more than the ${limits.manifestEntries} allowed`,
    );
  return {
    kind: 'index',
    mediaType,
    manifests: manifests.map((entry, position) => parseDescriptor(entry, `${what}: manifests[${position}]`)),
    ...common(document, what),
  };
}

function common(
  document: JsonObject,
  what: string,
): Pick<ImageManifest, 'artifactType' | 'subject' | 'annotations'> {
  const artifactType = optionalString(document, 'artifactType', what);
  const annotations = optionalStringMap(document, 'annotations', what);
  const subject = member(document, 'subject');
  return {
    ...(artifactType && { artifactType }),
    ...(annotations && { annotations }),
    ...(subject !== undefined && { subject: parseDescriptor(subject, `${what}: subject`) }),
  };
}
