/**
 * One repository of a registry, for writing (distribution spec, "Push"): blobs by mount from another repository or in
 * one piece, manifests by tag or digest. What is there already is not sent again. Only the first host that may take
 * pushes is used: half an image on each of two hosts would be no image.
 */
import { failedPrecondition, unavailable } from '../../base/errors.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { discardBody } from '../../wire/http/body.ts';
import type { HttpResponse } from '../../wire/http/message.ts';
import { redactUrl } from '../../wire/http/redact.ts';
import type { RegistryHost } from './hosts.ts';
import { type RegistrySession, scopeOf, unexpectedStatus } from './registry-session.ts';

export type PushResult = 'exists' | 'mounted' | 'pushed';

export interface PushBlobOptions {
  /** Repositories of the same registry that have been seen to hold the blob. */
  readonly mountFrom?: readonly string[];
  readonly signal: AbortSignal;
}

export class RegistryPusher {
  readonly #session: RegistrySession;

  constructor(dependencies: { session: RegistrySession }) {
    this.#session = dependencies.session;
  }

  /** `open` gives the bytes, once for each try. Errors: Unauthenticated, PermissionDenied, Unavailable. */
  async pushBlob(
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    { mountFrom = [], signal }: PushBlobOptions,
  ): Promise<PushResult> {
    const host = this.#host();
    if (await this.#exists(host, `/blobs/${descriptor.digest}`, {}, descriptor, signal)) return 'exists';
    const upload = await this.#startUpload(host, descriptor, mountFrom, signal);
    if (upload === 'mounted') return upload;
    const response = await this.#session.request(
      host,
      {
        operation: 'push',
        method: 'PUT',
        target: upload,
        query: { digest: descriptor.digest },
        headers: {
          'content-type': 'application/octet-stream',
          'content-length': String(descriptor.sizeBytes),
        },
        openBody: open,
      },
      signal,
    );
    await expectSuccess(response, 'PUT');
    return 'pushed';
  }

  /** Under `tag` when given, else under its digest. Errors as pushBlob. */
  async pushManifest(
    descriptor: Descriptor,
    bytes: Uint8Array,
    { tag, signal }: { tag?: string | undefined; signal: AbortSignal },
  ): Promise<PushResult> {
    const host = this.#host();
    const target = `/manifests/${tag ?? descriptor.digest}`;
    const accept = { accept: `${descriptor.mediaType}, */*` };
    if (await this.#exists(host, target, accept, descriptor, signal)) return 'exists';
    const response = await this.#session.request(
      host,
      {
        operation: 'push',
        method: 'PUT',
        target,
        headers: { 'content-type': descriptor.mediaType },
        body: bytes,
      },
      signal,
    );
    await expectSuccess(response, 'PUT');
    return 'pushed';
  }

  #host(): RegistryHost {
    const [host] = this.#session.hostsWith('push');
    if (host === undefined)
      throw failedPrecondition(
        `push ${this.#session.reference.text}: no host with the capability "push" is configured: see hosts.toml`,
      );
    return host;
  }

  async #exists(
    host: RegistryHost,
    target: string,
    headers: Readonly<Record<string, string>>,
    { digest }: Descriptor,
    signal: AbortSignal,
  ): Promise<boolean> {
    const response = await this.#session.request(
      host,
      { operation: 'push', method: 'HEAD', target, headers },
      signal,
    );
    await discardBody(response);
    if (response.status === 200) {
      // A tag may be there and name something else.
      const found = response.header('docker-content-digest');
      return target.endsWith(digest) || found === digest;
    }
    if (response.status === 404) return false;
    throw await unexpectedStatus(response, 'HEAD');
  }

  async #startUpload(
    host: RegistryHost,
    descriptor: Descriptor,
    mountFrom: readonly string[],
    signal: AbortSignal,
  ): Promise<URL | 'mounted'> {
    const { repository } = this.#session.reference;
    const [from] = mountFrom.filter((name) => name !== repository);
    const response = await this.#session.request(
      host,
      {
        operation: 'push',
        method: 'POST',
        target: '/blobs/uploads/',
        headers: { 'content-length': '0' },
        ...(from !== undefined && {
          query: { mount: descriptor.digest, from },
          scopes: [scopeOf(repository, 'push'), scopeOf(from, 'pull')],
        }),
      },
      signal,
    );
    if (from !== undefined && (response.status === 401 || response.status === 403)) {
      // No right to the other repository is no reason to fail: send the bytes.
      await discardBody(response);
      return this.#startUpload(host, descriptor, [], signal);
    }
    if (response.status !== 201 && response.status !== 202) throw await unexpectedStatus(response, 'POST');
    await discardBody(response);
    return response.status === 201 ? 'mounted' : locationOf(response);
  }
}

function locationOf(response: HttpResponse): URL {
  const location = response.header('location');
  const url = location === undefined ? null : URL.parse(location, response.url.href);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw unavailable(`${redactUrl(response.url)}: the upload was accepted without saying where to send it`);
  return url;
}

async function expectSuccess(response: HttpResponse, method: string): Promise<void> {
  if (response.status < 200 || response.status > 299) throw await unexpectedStatus(response, method);
  await discardBody(response);
}
