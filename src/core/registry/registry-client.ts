/**
 * One repository of a registry, for reading: a reference resolved to a descriptor, and content by descriptor, from
 * the first host that has it (distribution spec, "Pull"). Registry (registry.ts) makes it; registry-pusher.ts is for writing.
 *
 * Bodies are not verified here: whoever stores them checks size and digest.
 */
import { type Digest, digestOf, parseDigest } from '../../base/digest.ts';
import { invalidArgument, unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { isIndex, isManifest, mediaTypes, refuseSchema1Of } from '../../oci/media-types.ts';
import { discardBody, readBody } from '../../wire/http/body.ts';
import type { HttpResponse } from '../../wire/http/message.ts';
import type { RegistryHost } from './hosts.ts';
import { type RegistrySession, unexpectedStatus } from './registry-session.ts';
import type { ResolutionTrace } from './resolution-trace.ts';

/** A body on its way. Owned by the caller: read it to the end or dispose it. */
export interface RemoteContent extends AsyncDisposable {
  /** Where `body` starts: the offset asked for, or 0 when the host cannot start there. */
  readonly offset: number;
  /** Host that gave it. */
  readonly host: string;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface FetchOptions {
  readonly offset?: number;
  readonly signal: AbortSignal;
}

const acceptManifests = [
  mediaTypes.dockerManifest,
  mediaTypes.dockerManifestList,
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  '*/*',
].join(', ');

export class RegistryClient {
  readonly session: RegistrySession;
  readonly trace: ResolutionTrace;

  constructor(dependencies: { session: RegistrySession; trace: ResolutionTrace }) {
    this.session = dependencies.session;
    this.trace = dependencies.trace;
  }

  /**
   * What the reference names now; a digest in it wins over the tag.
   * Errors: NotFound, Unauthenticated, PermissionDenied, Unavailable, InvalidArgument (schema 1, oversized).
   */
  async resolve({ signal }: { signal: AbortSignal }): Promise<Descriptor> {
    const { reference } = this.session;
    const { digest, tag } = reference;
    if (digest === undefined && tag === undefined)
      throw invalidArgument(`${reference.text} names no object: add a tag or a digest, as in :latest`);
    const targets =
      digest === undefined ? [`/manifests/${tag}`] : [`/manifests/${digest}`, `/blobs/${digest}`];
    return this.session.firstOf('resolve', reference.text, signal, async (host) => {
      for (const target of targets) {
        const descriptor = await this.#resolveAt(host, target, digest, signal);
        if (descriptor !== undefined) return descriptor;
      }
      return undefined;
    });
  }

  /**
   * The content of a descriptor from `offset` on. Errors: NotFound, Unauthenticated, Unavailable, OutOfRange.
   */
  async fetch(descriptor: Descriptor, options: FetchOptions): Promise<RemoteContent> {
    const { digest, mediaType } = descriptor;
    const asManifest = isManifest(mediaType) || isIndex(mediaType);
    // Registries keep the two apart; some hand manifests out as blobs only.
    const targets = asManifest ? [`/manifests/${digest}`, `/blobs/${digest}`] : [`/blobs/${digest}`];
    const what = `fetch ${digest} of ${this.session.reference.text}`;
    return this.session.firstOf('pull', what, options.signal, async (host) => {
      for (const target of targets) {
        const content = await this.#fetchAt(host, target, descriptor, options);
        if (content !== undefined) return content;
      }
      return undefined;
    });
  }

  async #resolveAt(
    host: RegistryHost,
    target: string,
    expected: Digest | undefined,
    signal: AbortSignal,
  ): Promise<Descriptor | undefined> {
    const request = { operation: 'resolve', target, headers: { accept: acceptManifests } } as const;
    const head = await this.session.request(host, { ...request, method: 'HEAD' }, signal);
    await discardBody(head);
    if (head.status === 404) return undefined;
    const described = head.status === 200 ? describe(head, expected) : undefined;
    if (described !== undefined) return described;
    // HEAD is refused by some, and answered without a digest by others: then the content itself must tell.
    const response = await this.session.request(host, { ...request, method: 'GET' }, signal);
    if (response.status === 404) {
      await discardBody(response);
      return undefined;
    }
    if (response.status !== 200) throw await unexpectedStatus(response, 'GET');
    await using _ = response;
    return describeBody(response, await readBody(response, limits.manifestBytes), expected);
  }

  async #fetchAt(
    host: RegistryHost,
    target: string,
    { mediaType, digest, sizeBytes }: Descriptor,
    { offset = 0, signal }: FetchOptions,
  ): Promise<RemoteContent | undefined> {
    const headers = {
      accept: mediaType === '' ? '*/*' : `${mediaType}, */*`,
      // What is hashed must be what was stored, so nothing may be compressed on the way.
      'accept-encoding': 'identity',
      ...(offset > 0 && { range: `bytes=${offset}-` }),
    };
    const response = await this.session.request(
      host,
      { operation: 'fetch', method: 'GET', target, headers },
      signal,
    );
    if (response.status === 404) {
      await discardBody(response);
      return undefined;
    }
    if (response.status !== 200 && response.status !== 206) throw await unexpectedStatus(response, 'GET');
    try {
      const start = startOf(response, offset);
      checkLength(response, digest, sizeBytes, start);
      return {
        offset: start,
        host: host.origin.host,
        body: response.body,
        [Symbol.asyncDispose]: () => response[Symbol.asyncDispose](),
      };
    } catch (error) {
      await response[Symbol.asyncDispose]();
      throw error;
    }
  }
}

function describe(response: HttpResponse, expected: Digest | undefined): Descriptor | undefined {
  const header = response.header('docker-content-digest');
  const length = Number(response.header('content-length'));
  const mediaType = mediaTypeOf(response);
  if (!Number.isSafeInteger(length) || length <= 0 || mediaType === '') return undefined;
  if (header === undefined && expected === undefined) return undefined;
  return checked({ mediaType, digest: parseDigest(expected ?? header ?? ''), sizeBytes: length }, header);
}

function describeBody(response: HttpResponse, body: Buffer, expected: Digest | undefined): Descriptor {
  const digest = expected ?? digestOf(body);
  const own = digestOf(body);
  if (digest.startsWith('sha256:') && own !== digest)
    throw unavailable(`${response.url.host} answered for ${digest} with content of digest ${own}`);
  const mediaType = mediaTypeOf(response);
  return checked({ mediaType, digest, sizeBytes: body.byteLength }, response.header('docker-content-digest'));
}

function checked(descriptor: Descriptor, header: string | undefined): Descriptor {
  const { digest, mediaType, sizeBytes } = descriptor;
  refuseSchema1Of(mediaType, digest);
  if (header !== undefined && header !== digest && header.startsWith(digest.slice(0, digest.indexOf(':'))))
    throw unavailable(`asked for ${digest}, the host answered with digest ${JSON.stringify(header)}`);
  if ((isManifest(mediaType) || isIndex(mediaType)) && sizeBytes > limits.manifestBytes)
    throw invalidArgument(
      `manifest ${digest} has ${sizeBytes} bytes, more than the ${limits.manifestBytes} allowed`,
    );
  return descriptor;
}

const mediaTypeOf = (response: HttpResponse): string =>
  (response.header('content-type') ?? '').split(';', 1)[0]?.trim() ?? '';

/** Errors: Unavailable when a partial answer is of another part. */
function startOf(response: HttpResponse, offset: number): number {
  if (response.status === 200) return 0;
  const range = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec(response.header('content-range') ?? '');
  if (range !== null && Number(range[1]) === offset) return offset;
  throw unavailable(
    `${response.url.host} was asked for bytes from ${offset} and answers ${JSON.stringify(response.header('content-range') ?? '')}`,
  );
}

function checkLength(response: HttpResponse, digest: Digest, sizeBytes: number, start: number): void {
  const length = response.header('content-length');
  if (length === undefined || sizeBytes === 0 || Number(length) === sizeBytes - start) return;
  throw unavailable(
    `${response.url.host} sends ${length} bytes of ${digest}, which has ${sizeBytes - start} left by its descriptor`,
  );
}
