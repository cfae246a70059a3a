/**
 * An ingest of another program's store: one stream of Content.Write, which holds the lock of its ref over there for as
 * long as it lasts. Each message is answered before the next is sent.
 */
import { AsyncQueue } from '../../base/async-queue.ts';
import type { NamespacedContext } from '../../base/context.ts';
import { type Digest, digestOf, parseDigest } from '../../base/digest.ts';
import { dataLoss, failedPrecondition, invalidArgument } from '../../base/errors.ts';
import type { IngestRef } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { type Instant, now } from '../../base/time.ts';
import { countOf } from '../../wire/convert.ts';
import {
  Content,
  WriteAction,
  type WriteContentResponse,
} from '../../wire/gen/containerd/services/content/v1/content_pb.js';
import { instantOf } from '../../wire/timestamps.ts';
import { type RemotePlugin, remoteOptions } from '../plugins/remote-plugin.ts';
import type { CommitOptions, ContentWriter, IngestStatus, WriterOptions } from './content-store.ts';

interface Message {
  readonly action: WriteAction;
  readonly ref?: string;
  readonly total?: bigint;
  readonly expected?: string;
  readonly offset?: bigint;
  readonly data?: Uint8Array;
  readonly labels?: Record<string, string>;
}

export class ProxyWriter implements ContentWriter {
  readonly #ref: IngestRef;
  readonly #expected: Digest | undefined;
  readonly #remote: RemotePlugin;
  readonly #requests = new AsyncQueue<Message>();
  readonly #answers: AsyncIterator<WriteContentResponse, void>;
  #offsetBytes = 0;
  #totalBytes: number;
  #digest: Digest = digestOf('');
  #startedAt: Instant = now();
  #updatedAt: Instant = this.#startedAt;
  #open = true;

  private constructor(remote: RemotePlugin, ctx: NamespacedContext, options: WriterOptions) {
    this.#remote = remote;
    this.#ref = options.ref;
    this.#expected = options.expected;
    this.#totalBytes = options.totalBytes ?? 0;
    const stream = remote.client(Content).write(this.#requests, remoteOptions(ctx));
    this.#answers = stream[Symbol.asyncIterator]() as AsyncIterator<WriteContentResponse, void>;
  }

  /** Errors: those of ContentStore.writer. */
  static async open(
    { remote }: { remote: RemotePlugin },
    ctx: NamespacedContext,
    options: WriterOptions,
  ): Promise<ProxyWriter> {
    const writer = new ProxyWriter(remote, ctx, options);
    const answer = await writer.#send({
      action: WriteAction.STAT,
      ref: options.ref,
      total: BigInt(options.totalBytes ?? 0),
      expected: options.expected ?? '',
    });
    writer.#take(answer);
    writer.#startedAt = instantOf(answer.startedAt) ?? writer.#startedAt;
    writer.#updatedAt = instantOf(answer.updatedAt) ?? writer.#updatedAt;
    return writer;
  }

  /** The size that an earlier writer of the ref announced. */
  announced(totalBytes: number): void {
    this.#totalBytes = totalBytes;
  }

  status(): IngestStatus {
    return {
      ref: this.#ref,
      offsetBytes: this.#offsetBytes,
      totalBytes: this.#totalBytes,
      expected: this.#expected,
      startedAt: this.#startedAt,
      updatedAt: this.#updatedAt,
    };
  }

  digest(): Digest {
    return this.#digest;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#requireOpen();
    for (let at = 0; at < bytes.byteLength; at += limits.contentReadChunkBytes) {
      const data = bytes.subarray(at, at + limits.contentReadChunkBytes);
      const end = this.#offsetBytes + data.byteLength;
      this.#take(await this.#send({ action: WriteAction.WRITE, offset: BigInt(this.#offsetBytes), data }));
      if (this.#offsetBytes !== end)
        throw dataLoss(`the content store has ${this.#offsetBytes} bytes of ingest ${this.#ref}, not ${end}`);
    }
    this.#updatedAt = now();
  }

  /** Offset 0 is the API's way to say it. */
  async truncate(sizeBytes: number): Promise<void> {
    this.#requireOpen();
    if (sizeBytes !== 0) throw invalidArgument(`truncate ingest to ${sizeBytes}: only 0 is supported`);
    if (this.#offsetBytes > 0) this.#take(await this.#send({ action: WriteAction.WRITE, offset: 0n }));
    this.#offsetBytes = 0;
    this.#digest = digestOf('');
  }

  async commit(_ctx: NamespacedContext, options: CommitOptions): Promise<Digest> {
    this.#requireOpen();
    this.#open = false;
    try {
      const { digest } = await this.#send({
        action: WriteAction.COMMIT,
        offset: BigInt(this.#offsetBytes),
        total: BigInt(options.sizeBytes ?? 0),
        expected: options.expected ?? '',
        labels: { ...options.labels },
      });
      return parseDigest(digest);
    } finally {
      await this.#close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#close();
  }

  async #send(message: Message): Promise<WriteContentResponse> {
    this.#requests.push(message);
    try {
      const step = await this.#remote.ask(this.#answers.next());
      if (step.done !== true) return step.value;
    } catch (error) {
      this.#open = false;
      throw error;
    }
    this.#open = false;
    throw dataLoss(`the content store ended the write of ${this.#ref} without an answer`);
  }

  #take({ offset, digest }: WriteContentResponse): void {
    this.#offsetBytes = countOf(offset, 'offset');
    if (digest !== '') this.#digest = parseDigest(digest);
  }

  /** Heard to its end, so that the other side has let go of the ref when it resolves. */
  async #close(): Promise<void> {
    this.#requests.end();
    try {
      for (let step = await this.#answers.next(); step.done !== true; ) step = await this.#answers.next();
    } catch {
      // What went wrong was told to whoever asked for something; the other side drops the stream.
    }
  }

  #requireOpen(): void {
    if (!this.#open) throw failedPrecondition(`writer of ingest ${this.#ref} is closed`);
  }
}
