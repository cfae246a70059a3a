/** The distribution API (OCI distribution spec, "Endpoints") over a RegistryStorage. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { digestOf } from '../../base/digest.ts';
import type { RegistryStorage } from './registry-storage.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

interface Asked {
  readonly request: IncomingMessage;
  readonly body: Buffer;
  readonly redirected: boolean;
}

export interface Route {
  /** Scope that the caller needs, "" for none. */
  readonly scope: string;
  readonly answer: (asked: Asked) => Answer;
}

export interface RouteOptions {
  /** Where blobs are really served from. */
  readonly blobsAt?: () => string;
  readonly omitDigests: boolean;
  readonly omitRanges: boolean;
}

const empty = Buffer.alloc(0);
const answer = (status: number, headers: Record<string, string> = {}, body: Buffer = empty): Answer => ({
  status,
  headers,
  body,
});
const failure = (status: number, code: string, message: string): Answer =>
  answer(
    status,
    { 'content-type': 'application/json' },
    Buffer.from(JSON.stringify({ errors: [{ code, message }] })),
  );

export class RegistryRoutes {
  readonly #storage: RegistryStorage;
  readonly #options: RouteOptions;
  readonly #uploads = new Map<string, Buffer>();

  constructor(storage: RegistryStorage, options: RouteOptions) {
    this.#storage = storage;
    this.#options = options;
  }

  match(method: string, url: URL): Route {
    const path = url.pathname.replace(/^\/v2\//, '');
    if (url.pathname === '/v2/') return { scope: '', answer: () => answer(200) };
    const [, repository = '', kind, rest = ''] =
      /^(.+)\/(manifests|blobs\/uploads|blobs|tags)(?:\/(.*))?$/.exec(path) ?? [];
    const reads = method === 'GET' || method === 'HEAD';
    const scope = `repository:${repository}:${reads ? 'pull' : 'pull,push'}`;
    return { scope, answer: (asked) => this.#answer(method, url, repository, kind, rest, asked) };
  }

  #answer(
    method: string,
    url: URL,
    repository: string,
    kind: string | undefined,
    rest: string,
    asked: Asked,
  ): Answer {
    const reads = method === 'GET' || method === 'HEAD';
    if (kind === 'manifests' && reads) return this.#readManifest(repository, rest);
    if (kind === 'manifests' && method === 'PUT') return this.#putManifest(repository, rest, asked);
    if (kind === 'blobs' && reads) return this.#readBlob(method, url, repository, rest, asked);
    if (kind === 'tags' && method === 'GET') {
      const tags = { name: repository, tags: this.#storage.tags(repository) };
      return answer(200, { 'content-type': 'application/json' }, Buffer.from(JSON.stringify(tags)));
    }
    if (kind === 'blobs/uploads') return this.#upload(method, url, repository, rest, asked);
    return failure(404, 'NAME_UNKNOWN', 'no such endpoint');
  }

  #readManifest(repository: string, reference: string): Answer {
    const manifest = this.#storage.manifest(repository, reference);
    if (manifest === undefined) return failure(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    const headers = { 'content-type': manifest.mediaType, ...this.#digest(manifest.bytes) };
    return answer(200, headers, manifest.bytes);
  }

  #putManifest(repository: string, reference: string, { request, body }: Asked): Answer {
    const isDigest = reference.startsWith('sha256:');
    if (isDigest && digestOf(body) !== reference)
      return failure(400, 'DIGEST_INVALID', 'digest does not match');
    const mediaType = request.headers['content-type'] ?? '';
    const digest = this.#storage.addManifest(repository, mediaType, body, isDigest ? undefined : reference);
    return answer(201, {
      location: `/v2/${repository}/manifests/${digest}`,
      'docker-content-digest': digest,
    });
  }

  #readBlob(
    method: string,
    url: URL,
    repository: string,
    digest: string,
    { request, redirected }: Asked,
  ): Answer {
    const blob = this.#storage.blob(repository, digest);
    if (blob === undefined) return failure(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
    if (this.#options.blobsAt !== undefined && !redirected && method === 'GET')
      return answer(307, { location: `${this.#options.blobsAt()}${url.pathname}?signature=secret` });
    const headers = { 'content-type': 'application/octet-stream', ...this.#digest(blob) };
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    if (range === null || this.#options.omitRanges) return answer(200, headers, blob);
    const start = Number(range[1]);
    const end = range[2] === '' ? blob.byteLength - 1 : Number(range[2]);
    if (start >= blob.byteLength) return failure(416, 'RANGE_INVALID', 'range not satisfiable');
    const part = blob.subarray(start, end + 1);
    return answer(206, { ...headers, 'content-range': `bytes ${start}-${end}/${blob.byteLength}` }, part);
  }

  #upload(method: string, url: URL, repository: string, id: string, { body }: Asked): Answer {
    if (method === 'POST') {
      const mount = url.searchParams.get('mount') ?? '';
      if (this.#storage.mountBlob(repository, url.searchParams.get('from') ?? '', mount))
        return answer(201, {
          location: `/v2/${repository}/blobs/${mount}`,
          'docker-content-digest': mount,
        });
      const fresh = randomUUID();
      this.#uploads.set(fresh, empty);
      return answer(202, { location: `/v2/${repository}/blobs/uploads/${fresh}?_state=abc`, range: '0-0' });
    }
    const soFar = this.#uploads.get(id);
    if (soFar === undefined) return failure(404, 'BLOB_UPLOAD_UNKNOWN', 'upload unknown');
    const bytes = Buffer.concat([soFar, body]);
    this.#uploads.set(id, bytes);
    if (method === 'PATCH')
      return answer(202, { location: url.pathname, range: `0-${bytes.byteLength - 1}` });
    if (url.searchParams.get('digest') !== digestOf(bytes))
      return failure(400, 'DIGEST_INVALID', 'digest does not match');
    this.#uploads.delete(id);
    const digest = this.#storage.addBlob(repository, bytes);
    return answer(201, { location: `/v2/${repository}/blobs/${digest}`, 'docker-content-digest': digest });
  }

  #digest(bytes: Buffer): Record<string, string> {
    return this.#options.omitDigests ? {} : { 'docker-content-digest': digestOf(bytes) };
  }
}
