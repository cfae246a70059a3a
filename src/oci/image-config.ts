/** OCI image spec, "Image Configuration": what to run and which layers make the root file system. */
import { type Digest, parseDigest } from '../base/digest.ts';
import { invalidArgument } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  asObject,
  type JsonObject,
  member,
  optionalSet,
  optionalString,
  optionalStringMap,
  optionalStrings,
  parseJsonObject,
} from './json.ts';
import { type Platform, parsePlatformJson } from './platform.ts';

/** How to run the image; every member has the spec's meaning and is empty when the image does not say. */
export interface ImageRunConfig {
  /** `user`, `uid`, `user:group`, `uid:gid`, … */
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly volumes: readonly string[];
  readonly exposedPorts: readonly string[];
  /** Untrusted: keys of reserved prefixes must not reach containers. */
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
}

export interface ImageConfig {
  readonly platform: Platform;
  readonly created?: string;
  readonly config: ImageRunConfig;
  /** Digests of the uncompressed layers, bottom first. */
  readonly diffIds: readonly Digest[];
}

/** `bytes` are the verified content of `digest`. Errors: InvalidArgument. */
export function parseImageConfig(bytes: Uint8Array, digest: Digest): ImageConfig {
  const what = `image config ${digest}`;
  const document = parseJsonObject(bytes, what, limits.manifestBytes);
  const rootfs = asObject(member(document, 'rootfs') ?? {}, `${what}: rootfs`);
  const type = optionalString(rootfs, 'type', `${what}: rootfs`);
  if (type !== undefined && type !== '' && type !== 'layers')
    throw invalidArgument(`${what}: rootfs.type is ${JSON.stringify(type)}, only "layers" is known`);
  const diffIds = optionalStrings(rootfs, 'diff_ids', `${what}: rootfs`) ?? [];
  if (diffIds.length > limits.manifestEntries)
    throw invalidArgument(
      `${what} has ${diffIds.length} layers, more than the ${limits.manifestEntries} allowed`,
    );
  const created = optionalString(document, 'created', what);
  return {
    platform: parsePlatformJson(document, what),
    ...(created && { created }),
    config: runConfig(asObject(member(document, 'config') ?? {}, `${what}: config`), `${what}: config`),
    diffIds: diffIds.map(parseDigest),
  };
}

function runConfig(object: JsonObject, where: string): ImageRunConfig {
  return {
    user: optionalString(object, 'User', where) ?? '',
    env: optionalStrings(object, 'Env', where) ?? [],
    entrypoint: optionalStrings(object, 'Entrypoint', where) ?? [],
    cmd: optionalStrings(object, 'Cmd', where) ?? [],
    workingDir: optionalString(object, 'WorkingDir', where) ?? '',
    volumes: optionalSet(object, 'Volumes', where) ?? [],
    exposedPorts: optionalSet(object, 'ExposedPorts', where) ?? [],
    labels: optionalStringMap(object, 'Labels', where) ?? {},
    stopSignal: optionalString(object, 'StopSignal', where) ?? '',
  };
}
