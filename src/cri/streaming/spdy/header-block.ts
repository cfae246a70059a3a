/**
 * Headers of SPDY/3.1 streams: a list of names and values in one zlib stream for each direction (SPDY protocol draft
 * 3.1, section 2.6.10). The client's is inflated up to a bound. Ours is never compressed: stored blocks of deflate are
 * as good to any reader, and need neither a window of zlib's nor a wait.
 */
import { constants, createInflate, type Inflate } from 'node:zlib';
import { invalidArgument } from '../../../base/errors.ts';
import { limits } from '../../../base/limits.ts';
import { spdyDictionary } from './dictionary.ts';

/** Values by name in lower case. */
export type SpdyHeaders = ReadonlyMap<string, string>;

export class HeaderInflater implements Disposable {
  readonly #inflate: Inflate = createInflate({
    dictionary: spdyDictionary,
    flush: constants.Z_SYNC_FLUSH,
    chunkSize: 4096,
  });
  #failure: Error | undefined;

  constructor() {
    this.#inflate.on('error', (error) => {
      this.#failure = error;
    });
  }

  /** One call at a time, in the order of the frames. Errors: InvalidArgument; the connection is lost with it. */
  async read(block: Uint8Array): Promise<SpdyHeaders> {
    return parseHeaders(await this.#unpack(block));
  }

  [Symbol.dispose](): void {
    this.#inflate.destroy();
  }

  async #unpack(block: Uint8Array): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      sizeBytes += chunk.byteLength;
      if (sizeBytes <= limits.spdyHeaderBytes) return;
      reject(new Error(`they unpack to more than ${limits.spdyHeaderBytes} bytes`));
      this.#inflate.destroy();
    };
    const onLost = (): void => reject(this.#failure ?? new Error('their stream has ended'));
    this.#inflate.on('data', onData).once('close', onLost).once('end', onLost);
    if (this.#inflate.destroyed || this.#inflate.readableEnded) onLost();
    else
      this.#inflate.write(block, (error) => (error === null || error === undefined ? resolve() : onLost()));
    try {
      await promise;
      return Buffer.concat(chunks);
    } catch (error) {
      throw invalidArgument(`the headers of a stream cannot be read: ${(error as Error).message}`, error);
    } finally {
      this.#inflate.off('data', onData).off('close', onLost).off('end', onLost);
    }
  }
}

/** Errors: InvalidArgument. */
export function parseHeaders(bytes: Buffer): SpdyHeaders {
  const headers = new Map<string, string>();
  let at = 0;
  const word = (): number => {
    if (at + 4 > bytes.byteLength) throw invalidArgument('the headers of a stream are cut short');
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const sizeBytes = word();
    if (at + sizeBytes > bytes.byteLength) throw invalidArgument('the headers of a stream are cut short');
    at += sizeBytes;
    return bytes.toString('utf8', at - sizeBytes, at);
  };
  for (let rest = word(); rest > 0; rest -= 1) {
    const name = text().toLowerCase();
    headers.set(name, text());
  }
  return headers;
}

export function formatHeaders(headers: SpdyHeaders): Buffer {
  const word = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const text = (value: string): Buffer[] => [word(Buffer.byteLength(value)), Buffer.from(value)];
  const pairs = [...headers].flatMap(([name, value]) => [...text(name), ...text(value)]);
  return Buffer.concat([word(headers.size), ...pairs]);
}

/** Head of a zlib stream with the dictionary's name (RFC 1950, section 2.2). */
const zlibHead = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
/** An empty stored block: readers hand out what came before it at once. */
const flush = Buffer.from([0, 0, 0, 0xff, 0xff]);

export class HeaderStorer {
  #begun = false;

  /** Up to 65,535 bytes of headers, for the next frame that carries some. */
  write(headers: SpdyHeaders): Buffer {
    const bytes = formatHeaders(headers);
    // A stored block that is not the last (RFC 1951, section 3.2.4).
    const stored = Buffer.alloc(5);
    stored.writeUInt16LE(bytes.byteLength, 1);
    stored.writeUInt16LE(~bytes.byteLength & 0xffff, 3);
    const head = this.#begun ? [] : [zlibHead];
    this.#begun = true;
    return Buffer.concat([...head, stored, bytes, flush]);
  }
}
