/**
 * What a program says on one stream, kept up to a bound: the beginning, or the end. All of it is read, so that whoever
 * writes is never held up or killed for saying much.
 */
import type { Readable } from 'node:stream';
import { pause } from '../../base/backoff.ts';
import { limits } from '../../base/limits.ts';

export interface BoundedTextOptions {
  readonly maxBytes: number;
  readonly keep: 'start' | 'end';
}

export class BoundedText {
  readonly #options: BoundedTextOptions;
  readonly #finished: Promise<void>;
  #bytes = Buffer.alloc(0);
  #isCut = false;

  /** Reads `stream` from now on. */
  constructor(stream: Readable, options: BoundedTextOptions) {
    this.#options = options;
    this.#finished = new Promise((resolve) => {
      stream
        .once('end', resolve)
        .once('close', resolve)
        .once('error', () => resolve());
    });
    stream.on('data', (chunk: Buffer) => this.#add(chunk));
  }

  /** Whether there was more than is kept. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** So far. Bytes that are no UTF-8 are replaced. */
  get text(): string {
    return this.#bytes.toString('utf8').trim();
  }

  /** To be asked when the program has ended: one that left children with the stream open is not waited for. */
  async settled(): Promise<void> {
    const waiting = new AbortController();
    await Promise.race([this.#finished, pause(limits.programDrainMs, waiting.signal).catch(() => {})]);
    waiting.abort();
  }

  #add(chunk: Buffer): void {
    const { maxBytes, keep } = this.#options;
    const all = Buffer.concat([this.#bytes, chunk]);
    if (all.length > maxBytes) this.#isCut = true;
    this.#bytes = keep === 'start' ? all.subarray(0, maxBytes) : Buffer.from(all.subarray(-maxBytes));
  }
}
