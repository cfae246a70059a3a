/** Content by digest: read, write, list. */
import { randomBytes } from 'node:crypto';
import { AsyncQueue } from '../base/async-queue.ts';
import { type Digest, parseDigest } from '../base/digest.ts';
import { hasCode, internal, resourceExhausted } from '../base/errors.ts';
import type { Labels } from '../base/labels.ts';
import type { ContentInfo } from '../core/content/content-store.ts';
import { Content, type Info, WriteAction } from '../wire/gen/containerd/services/content/v1/content_pb.js';
import { knownInstantOf } from './convert.ts';
import type { Call, Scope } from './scope.ts';

const infoOf = (info: Info): ContentInfo => ({
  digest: parseDigest(info.digest),
  sizeBytes: Number(info.size),
  createdAt: knownInstantOf(info.createdAt),
  updatedAt: knownInstantOf(info.updatedAt),
  labels: info.labels,
});

export class ContentClient {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** Errors: NotFound. */
  async info(digest: Digest, call?: Call): Promise<ContentInfo> {
    const { info } = await this.#scope.client(Content).info({ digest }, this.#scope.options(call));
    return infoOf(info as Info);
  }

  async *list(filters: readonly string[] = [], call?: Call): AsyncGenerator<ContentInfo, void> {
    const blocks = this.#scope.client(Content).list({ filters: [...filters] }, this.#scope.options(call));
    for await (const { info } of blocks) for (const each of info) yield infoOf(each);
  }

  /** The bytes from `offset` on, in chunks of at most 1 MiB. Errors: NotFound, OutOfRange. */
  async *read(
    digest: Digest,
    { offset = 0, lengthBytes = 0, ...call }: Call & { offset?: number; lengthBytes?: number } = {},
  ): AsyncGenerator<Uint8Array, void> {
    const request = { digest, offset: BigInt(offset), size: BigInt(lengthBytes) };
    const replies = this.#scope.client(Content).read(request, this.#scope.options(call));
    for await (const { data } of replies) yield data;
  }

  /** A whole blob in memory. Errors: NotFound; ResourceExhausted when it is larger than `limitBytes`. */
  async readAll(digest: Digest, { limitBytes, ...call }: Call & { limitBytes: number }): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of this.read(digest, call)) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > limitBytes)
        throw resourceExhausted(`${digest} is larger than the ${limitBytes} bytes that may be read at once`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  /**
   * Stores bytes under a fresh ingest and commits them. A blob that is there already is no error. Without a lease in
   * `call` it lasts until the next garbage collection unless something refers to it. Errors: FailedPrecondition when
   * size or digest differ from what was announced.
   */
  async write(
    bytes: Uint8Array,
    { expected, labels = {}, ...call }: Call & { expected?: Digest; labels?: Labels } = {},
  ): Promise<Digest> {
    const ref = `gantry-${randomBytes(12).toString('hex')}`;
    const total = BigInt(bytes.byteLength);
    const requests = new AsyncQueue<{
      action: WriteAction;
      ref: string;
      total?: bigint;
      expected?: string;
      offset?: bigint;
      data?: Uint8Array;
      labels?: Record<string, string>;
    }>();
    const common = { ref, total, expected: expected ?? '' };
    requests.push({ ...common, action: WriteAction.WRITE, data: bytes, offset: 0n });
    requests.push({ ...common, action: WriteAction.COMMIT, offset: total, labels: { ...labels } });
    requests.end();
    try {
      let digest = '';
      for await (const reply of this.#scope.client(Content).write(requests, this.#scope.options(call)))
        if (reply.action === WriteAction.COMMIT) digest = reply.digest;
      if (digest === '') throw internal(`the daemon ended the write of ${ref} without committing it`);
      return parseDigest(digest);
    } catch (error) {
      if (expected !== undefined && hasCode(error, 'AlreadyExists')) return expected;
      throw error;
    }
  }

  /** Errors: NotFound. */
  async remove(digest: Digest, call?: Call): Promise<void> {
    await this.#scope.client(Content).delete({ digest }, this.#scope.options(call));
  }
}
