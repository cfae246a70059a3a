/**
 * From the bytes of a layer blob, in pieces, to its tar: what `decompress` is to streams, on the thread of the caller,
 * for a worker that inflates for itself. Both judge alike.
 */

import { internal } from '../../base/errors.ts';
import type { InflateOperations, Inflater } from '../../platform/platform.ts';
import { compressionOf } from './decompress.ts';
import type { Compression } from './layer-media-type.ts';

/** Bytes that tell one format from another. */
const magicBytes = 4;

export class LayerInflater implements Disposable {
  readonly #engines: InflateOperations;
  readonly #take: (bytes: Uint8Array) => void;
  #compression: Compression | undefined;
  #inflater: Inflater | undefined;
  /** Too few to tell the format. */
  #start = Buffer.alloc(0);

  /** Without `compression` the first bytes decide. `take` has its bytes only during the call. */
  constructor(
    engines: InflateOperations,
    compression: Compression | undefined,
    take: (bytes: Uint8Array) => void,
  ) {
    this.#engines = engines;
    this.#compression = compression;
    this.#take = take;
    this.#open();
  }

  /** Errors: InvalidArgument for damaged input, and what `take` throws. */
  push(bytes: Uint8Array): void {
    if (this.#compression !== undefined) {
      this.#pass(bytes);
      return;
    }
    this.#start = Buffer.concat([this.#start, bytes]);
    if (this.#start.length >= magicBytes) this.#decide();
  }

  /** Errors: InvalidArgument for a stream that is cut. */
  end(): void {
    if (this.#compression === undefined) this.#decide();
    this.#inflater?.end();
  }

  [Symbol.dispose](): void {
    this.#inflater?.[Symbol.dispose]();
  }

  #decide(): void {
    this.#compression = compressionOf(this.#start);
    this.#open();
    this.#pass(this.#start);
  }

  #open(): void {
    if (this.#compression === undefined || this.#compression === 'none') return;
    this.#inflater = this.#engines.open(this.#compression, this.#take);
    if (this.#inflater === undefined) throw internal(`no engine for ${this.#compression} on this thread`);
  }

  #pass(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.#inflater === undefined) this.#take(bytes);
    else this.#inflater.push(bytes);
  }
}

/** Whether every format can be inflated on this thread. */
export const canInflate = (engines: InflateOperations): boolean =>
  engines.engine('gzip') !== undefined && engines.engine('zstd') !== undefined;
