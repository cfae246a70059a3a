/** Random access to a blob of another program's store: each read is a call of its own. */
import { type NamespacedContext, withSignal } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { dataLoss } from '../../base/errors.ts';
import { Content } from '../../wire/gen/containerd/services/content/v1/content_pb.js';
import { type RemotePlugin, remoteOptions } from '../plugins/remote-plugin.ts';
import type { ContentReader } from './content-store.ts';

export class ProxyReader implements ContentReader {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly #remote: RemotePlugin;
  readonly #ctx: NamespacedContext;

  constructor(
    { remote }: { remote: RemotePlugin },
    ctx: NamespacedContext,
    { digest, sizeBytes }: { digest: Digest; sizeBytes: number },
  ) {
    this.#remote = remote;
    this.#ctx = ctx;
    this.digest = digest;
    this.sizeBytes = sizeBytes;
  }

  async readAt(into: Uint8Array, offset: number): Promise<number> {
    let done = 0;
    for await (const chunk of this.stream({ offset, lengthBytes: into.byteLength })) {
      into.set(chunk, done);
      done += chunk.byteLength;
    }
    return done;
  }

  async *stream({
    offset = 0,
    lengthBytes = this.sizeBytes,
    signal,
  }: {
    offset?: number;
    lengthBytes?: number;
    signal?: AbortSignal;
  } = {}): AsyncGenerator<Uint8Array> {
    const wanted = Math.min(this.sizeBytes - offset, lengthBytes);
    // To the API no size means all of it.
    if (wanted <= 0) return;
    const ctx = signal === undefined ? this.#ctx : withSignal(this.#ctx, signal);
    const request = { digest: this.digest, offset: BigInt(offset), size: BigInt(wanted) };
    const chunks = this.#remote.client(Content).read(request, remoteOptions(ctx));
    let received = 0;
    for await (const { data } of this.#remote.follow(chunks)) {
      received += data.byteLength;
      if (received > wanted) break;
      yield data;
    }
    if (received !== wanted)
      throw dataLoss(
        `the content store gave ${received} bytes of ${this.digest} where ${wanted} were asked for`,
      );
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
