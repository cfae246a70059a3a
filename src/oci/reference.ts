/**
 * Names of images as registries know them: `host/path:tag`, `host/path@digest`, `host/path:tag@digest`.
 *
 * `parseReference` takes them as containerd's API gives them, with the host spelled out. `normaliseReference` takes
 * what people type and completes it as Docker does (`alpine` is `docker.io/library/alpine:latest`).
 * Grammar: distribution spec, "Pull" (name and tag); host as in Docker's reference grammar.
 */
import type { Brand } from '../base/brand.ts';
import { type Digest, parseDigest } from '../base/digest.ts';
import { invalidArgument } from '../base/errors.ts';
import { limits } from '../base/limits.ts';

/** The whole text of a reference that parsed. */
export type ReferenceText = Brand<string, 'ReferenceText'>;

export interface Reference {
  readonly text: ReferenceText;
  /** Host with port, `docker.io` as written. */
  readonly host: string;
  /** Repository below the host: `library/alpine`. */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

const hostPattern =
  /^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?$/;
const repositoryPattern =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** Host, path, and a tag or digest or neither. Errors: InvalidArgument with the part that is wrong. */
export function parseReference(text: string): Reference {
  const slash = text.indexOf('/');
  const fail = (reason: string): never => {
    throw invalidArgument(`invalid reference ${JSON.stringify(text.slice(0, 300))}: ${reason}`);
  };
  if (text.length > limits.referenceBytes) fail(`longer than ${limits.referenceBytes} bytes`);
  if (text.includes('://')) fail('it must not start with a scheme such as https://');
  if (slash === -1) fail('hostname required, as in docker.io/library/alpine:latest');
  const host = text.slice(0, slash);
  if (!hostPattern.test(host)) fail(`${JSON.stringify(host)} is not a host name`);
  const { repository, tag, digest } = splitObject(text.slice(slash + 1));
  if (!repositoryPattern.test(repository))
    fail(`repository ${JSON.stringify(repository)} must be lower case letters, digits and single separators`);
  if (tag !== undefined && !tagPattern.test(tag)) fail(`${JSON.stringify(tag)} is not a tag`);
  return {
    text: text as ReferenceText,
    host,
    repository,
    tag,
    digest: digest === undefined ? undefined : parseDigest(digest),
  };
}

function splitObject(rest: string): {
  repository: string;
  tag: string | undefined;
  digest: string | undefined;
} {
  const at = rest.indexOf('@');
  const digest = at === -1 ? undefined : rest.slice(at + 1);
  const named = at === -1 ? rest : rest.slice(0, at);
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  if (colon === -1) return { repository: named, tag: undefined, digest };
  // containerd writes `repo:@sha256:…` for "no tag".
  const tag = named.slice(colon + 1);
  return {
    repository: named.slice(0, colon),
    tag: tag === '' && digest !== undefined ? undefined : tag,
    digest,
  };
}

/**
 * Completes what a person typed: default host docker.io, `library/` for its official images, tag `latest` when there
 * is neither tag nor digest. Errors: InvalidArgument.
 */
export function normaliseReference(text: string): Reference {
  if (/^[0-9a-f]{64}$/.test(text))
    throw invalidArgument(
      `invalid reference ${JSON.stringify(text)}: it looks like an id, give a repository name`,
    );
  const slash = text.indexOf('/');
  const first = slash === -1 ? '' : text.slice(0, slash);
  const isHost = first === 'localhost' || /[.:[]/.test(first) || first !== first.toLowerCase();
  let host = isHost ? first : 'docker.io';
  let path = isHost ? text.slice(slash + 1) : text;
  if (host === 'index.docker.io') host = 'docker.io';
  if (host === 'docker.io' && !path.split(/[:@]/, 1)[0]?.includes('/')) path = `library/${path}`;
  const parsed = parseReference(`${host}/${path}`);
  return parsed.tag === undefined && parsed.digest === undefined
    ? parseReference(`${parsed.text}:latest`)
    : parsed;
}

/** As short as people write it: the inverse of normaliseReference. */
export function familiarReference(reference: Reference): string {
  const { host, text } = reference;
  if (host !== 'docker.io') return text;
  const path = text.slice('docker.io/'.length);
  const short =
    path.startsWith('library/') && !path.slice('library/'.length).includes('/') ? path.slice(8) : path;
  // A user such as `a.b` would read as a host: then only the full form will do.
  return [short, path].find((form) => normalises(form, text)) ?? text;
}

function normalises(short: string, to: string): boolean {
  try {
    return normaliseReference(short).text === to;
  } catch {
    return false;
  }
}
