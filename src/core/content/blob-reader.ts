/** Random access to one blob on disk. */
import type { FileHandle } from 'node:fs/promises';
import { checkSignal } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { limits } from '../../base/limits.ts';
import type { ContentReader } from './content-store.ts';

export class BlobReader implements ContentReader {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly #handle: FileHandle;

  constructor(handle: FileHandle, { digest, sizeBytes }: { digest: Digest; sizeBytes: number }) {
    this.#handle = handle;
    this.digest = digest;
    this.sizeBytes = sizeBytes;
  }

  get fd(): number {
    return this.#handle.fd;
  }

  async readAt(into: Uint8Array, offset: number): Promise<number> {
    let done = 0;
    while (done < into.byteLength) {
      const { bytesRead } = await this.#handle.read(into, done, into.byteLength - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
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
    const end = Math.min(this.sizeBytes, offset + lengthBytes);
    for (let at = offset; at < end; ) {
      if (signal !== undefined) checkSignal(signal);
      // A buffer of its own for each chunk: the consumer may keep it.
      const chunk = Buffer.allocUnsafeSlow(Math.min(limits.contentReadChunkBytes, end - at));
      const read = await this.readAt(chunk, at);
      if (read === 0) return;
      yield chunk.subarray(0, read);
      at += read;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}
